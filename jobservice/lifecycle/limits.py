"""What operators set of queues, tenants and concurrency keys: the statements of `limits.sql` with types.

For the client and for the door for commands, each with a connection of its own. Who may set what is decided there; the
driver's errors are translated by whoever gave the connection (`store.failures`).
"""

from pathlib import Path
from typing import Any, Final

import asyncpg

from jobservice.domain.facts import EventMode
from jobservice.domain.rates import Rate
from jobservice.store.sql import DEFAULT_SCHEMA, load

_FILE = Path(__file__).with_suffix(".sql")
_UNBLOCK = Path(__file__).with_name("claim.sql")

NO_LIMIT: Final = -1
"""As `max_running`: takes the limit away, where None leaves it as it is."""
NO_RATE: Final = Rate(starts=-1, period=1)
"""As `rate`: takes it away."""
NO_AGING: Final = 0.0
"""As `aging`: takes it away."""
AGING_MIN: Final = 1
AGING_MAX: Final = 1_000_000_000
"""Seconds that aging may be."""
ONE_AT_A_TIME: Final = 1
"""What a concurrency key allows that nobody has given a limit of its own."""


class Limits:
    """Pauses, limits, weights and rates of one schema, what a queue publishes, and its aging; idle daemons are told."""

    def __init__(self, *, schema: str = DEFAULT_SCHEMA) -> None:
        self._sql = load(_FILE, schema)
        self._unblocking = load(_UNBLOCK, schema)

    async def set_tenant(
        self,
        connection: asyncpg.Connection,
        tenant: str,
        *,
        paused: bool | None = None,
        max_running: int | None = None,
        weight: float | None = None,
        rate: Rate | None = None,
    ) -> None:
        """A tenant's pause, limits and weight; None leaves as it is, NO_LIMIT and NO_RATE take a limit away."""
        await self._sql.set_tenant(
            connection, tenant=tenant, paused=paused, max_running=max_running, weight=weight, **_columns(rate)
        )
        await self._sql.wake_idle(connection)

    async def set_queue(
        self,
        connection: asyncpg.Connection,
        queue: str,
        *,
        paused: bool | None = None,
        max_running: int | None = None,
        events: EventMode | None = None,
        rate: Rate | None = None,
        aging: float | None = None,
    ) -> None:
        """A queue's pause and limits, what it publishes, and in how many seconds waiting raises a priority.

        None leaves as it is, NO_LIMIT, NO_RATE and NO_AGING take it away.
        """
        async with connection.transaction():
            await self._sql.set_queue(
                connection, queue=queue, paused=paused, max_running=max_running, events=events, **_columns(rate)
            )
            if aging == NO_AGING:
                await self._sql.end_aging(connection, queue=queue)
            elif aging is not None:
                await self._sql.set_aging(connection, queue=queue, period=aging)
        await self._sql.wake_queue(connection, queue=queue)

    async def set_share(
        self,
        connection: asyncpg.Connection,
        queue: str,
        tenant: str,
        *,
        max_running: int | None = None,
        weight: float | None = None,
    ) -> None:
        """A tenant's limit and weight on one queue; None leaves as it is, NO_LIMIT and a weight of 0 take them away."""
        await self._sql.set_share(connection, queue=queue, tenant=tenant, max_running=max_running, weight=weight)
        await self._sql.wake_queue(connection, queue=queue)

    async def set_key(self, connection: asyncpg.Connection, tenant: str, key: str, *, max_running: int) -> None:
        """How many jobs of a tenant's concurrency key run at a time, on all queues together."""
        await self._sql.set_key(connection, tenant=tenant, key=key, max_running=max_running)
        async for _ in self._unblocking.unblock(connection, tenants=[tenant], keys=[key]):
            pass


def _columns(rate: Rate | None) -> dict[str, Any]:
    if rate is None:
        return {"rate": None, "period": None, "burst": None}
    return {"rate": rate.starts, "period": rate.period, "burst": rate.burst}
