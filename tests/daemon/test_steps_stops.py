"""A job of twenty steps that is stopped again and again while daemons come and go."""

import asyncio
import random

import asyncpg
import pytest
from daemons import Books, Daemons, until
from step_tables import StepTables

from jobservice.lifecycle.commands import Commands

JOBS, STOPS = 15, 10


async def _stop_at_random(tables: StepTables, batch: int, dice: random.Random) -> set[str]:
    """Runs one job to its end through ten stops; the ends that it came to."""
    job_id = await tables.submit("TwentySteps", {"batch": batch})
    ends = set()
    done = "SELECT count(*) FROM tally WHERE value / 100 = $1"
    for _ in range(STOPS):
        enough = min(20, await tables.value(done, batch) + dice.randrange(4))

        async def so_far(enough: int = enough) -> bool:
            return bool(await tables.value(done, batch) >= enough)

        await until(so_far, f"{enough} steps of {batch}")
        await tables.stop(job_id)
        ends.add((await tables.is_in(job_id, "SUCCEEDED", "FAILED", "ABORTED"))["status"])
        await Commands().restart(tables.connection, [job_id])
    ends.add((await tables.is_in(job_id, "SUCCEEDED", "FAILED", "ABORTED"))["status"])
    return ends


async def test_150_stops_come_to_legal_ends_only_and_no_step_is_done_twice(
    daemons: Daemons, books: Books, database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    await StepTables(books.connection).make(database_url, monkeypatch)
    first, _ = [await daemons.start(), await daemons.start()]

    async with asyncpg.create_pool(database_url, min_size=0, max_size=JOBS) as pool:

        async def one(batch: int) -> set[str]:
            async with pool.acquire() as connection:
                return await _stop_at_random(StepTables(connection), batch, random.Random(batch))

        stops = [asyncio.create_task(one(batch)) for batch in range(1, JOBS + 1)]
        await StepTables(books.connection).is_in(await books.submit("NoOp"), "SUCCEEDED")
        await first.leave()
        await daemons.start()
        ends = set().union(*await asyncio.gather(*stops))

    assert ends == {"ABORTED", "SUCCEEDED"}
    assert await books.value("SELECT count(*) || ' ' || count(DISTINCT value) FROM tally") == f"{JOBS * 20} {JOBS * 20}"
    assert await books.value("SELECT array_agg(DISTINCT status) FROM jobservice.step_execution") == ["SUCCEEDED"]
    assert await books.value("SELECT count(*) FROM jobservice.job_instance WHERE status = 'SUCCEEDED'") == JOBS
