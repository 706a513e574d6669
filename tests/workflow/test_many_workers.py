"""24 daemons on one stage: no update is lost, nobody deadlocks, and the next stage opens once."""

import asyncio
import os
from typing import Any

import asyncpg
from crew import Crew
from pipe_books import check_books, jobs, stages, standing, submit

WORKERS = 24
JOBS = int(os.environ.get("JOBSERVICE_TEST_STAGE", "5000"))


async def test_twenty_four_workers_count_every_job_of_one_stage_once(
    crews: Any, connection: asyncpg.Connection
) -> None:
    workers: list[Crew] = [await crews() for _ in range(WORKERS)]
    p = await submit(connection, {"jobs": jobs(JOBS)}, {"jobs": jobs(JOBS // 10)})

    async def work(crew: Crew) -> None:
        while (await standing(crew.connection, p))[0] != "SUCCEEDED":
            if runs := await crew.claim(50):
                await crew.start(runs[::2])
                await crew.end(runs)
                await crew.written()

    async with asyncio.timeout(120 + JOBS / 100):
        await asyncio.gather(connection_goes_on(workers[0], p), *(work(crew) for crew in workers[1:]))

    assert [stage["succeeded"] for stage in await stages(connection, p)] == [JOBS, JOBS // 10]
    assert [stage["retried"] for stage in await stages(connection, p)] == [0, 0]
    assert not [crew for crew in workers if crew.told.stale_runs]
    await check_books(connection)


async def connection_goes_on(crew: Crew, pipeline_id: Any) -> None:
    """One of them sees to what is left unsettled, too."""
    while (await standing(crew.connection, pipeline_id))[0] != "SUCCEEDED":
        await crew.go_on()
        await crew.work(50)
        await crew.written()
