"""What a daemon takes while there is nothing to do."""

import asyncio

from benchmarks.speed.figures import Figures
from benchmarks.speed.installation import Installation
from benchmarks.speed.processes import cpu_seconds, resident

_STATISTICS_LAG = 11.0
"""Seconds until PostgreSQL's counters are there: a session that has fallen idle tells its last ones after 10."""
_PARTS = 3


async def idle(made: Installation, pids: list[int], seconds: float, figures: Figures) -> None:
    """Transactions a second of the daemon, none of which is ours; share of a core.

    In parts, whose median it is. The server's own vacuum makes as many transactions as the daemon: private ones do
    without it meanwhile.
    """
    await made.quiet()
    async with made.without_vacuum():
        await asyncio.sleep(_STATISTICS_LAG)
        for _ in range(_PARTS):
            before, cpu = await _transactions(made), cpu_seconds(pids)
            await asyncio.sleep(2 * seconds)
            spent = cpu_seconds(pids) - cpu
            # This session's own two are taken off: the look before, and the clearing for the one after.
            figures.add("idle queries", max(0, await _transactions(made) - before - 2) / (2 * seconds))
            figures.add("idle cpu", spent / (2 * seconds) * 100)


def idle_memory(pids: list[int], figures: Figures) -> None:
    """Of a daemon that has just started."""
    figures.add("idle rss", resident(pids))


async def _transactions(made: Installation) -> int:
    await made.database.execute("SELECT pg_stat_clear_snapshot()")
    return int(
        await made.database.fetchval(
            "SELECT xact_commit + xact_rollback FROM pg_stat_database WHERE datname = current_database()"
        )
    )
