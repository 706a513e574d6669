"""A pipeline that is stopped: what had succeeded stays, what was cut off is never called a success."""

import asyncpg
import pytest
from crew import NO, Crew
from pipe_books import check_books, command, jobs, pipeline, stages, standing, submit


@pytest.mark.parametrize("share", [0.0, 0.5, 1.0])
async def test_jobs_that_a_stop_aborted_are_no_failures_that_the_stage_allows(crew: Crew, share: float) -> None:
    p = await submit(crew.connection, {"jobs": jobs(4), "on_failure": "continue", "allowed_failures": share})
    await crew.start(running := await crew.claim(2))

    await command(crew.connection, "stop", p, "enough")
    await crew.end(running)

    assert await standing(crew.connection, p) == ("ABORTED", ["ABORTED"])
    assert (await pipeline(crew.connection, p))["reason"] == "enough"
    await check_books(crew.connection)


async def test_a_stop_that_finds_all_jobs_in_their_last_moments_does_not_write_over_their_success(crew: Crew) -> None:
    p = await submit(crew.connection, {"jobs": jobs(2), "on_failure": "continue"})
    await crew.start(running := await crew.claim(2))

    await command(crew.connection, "stop", p)
    await crew.end(running[:1], NO)
    await crew.end(running[1:])

    assert await standing(crew.connection, p) == ("SUCCEEDED", ["SUCCEEDED"])
    await check_books(crew.connection)


async def test_a_stage_that_was_open_when_it_was_stopped_takes_more_jobs_after_the_restart(
    connection: asyncpg.Connection, crew: Crew
) -> None:
    p = await submit(connection, {"jobs": jobs(1), "open": True})
    await command(connection, "stop", p)

    await command(connection, "restart", p)
    await crew.work_all()

    assert await standing(connection, p) == ("RUNNING", ["RUNNING"])
    (stage,) = await stages(connection, p)
    assert stage["open"]
