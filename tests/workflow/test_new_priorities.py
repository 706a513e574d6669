"""A pipeline's new priority reaches its waiting jobs a thousand at a time, and as if it had been all at once."""

import asyncpg
import pytest
from crew import Crew
from factory import SETTLER, row_of
from pipe_books import add_jobs, check_books, command, jobs, pipeline, stages, submit

MANY = 2500
HIGH = 100


async def priorities(connection: asyncpg.Connection) -> dict[int, int]:
    rows = await connection.fetch("SELECT priority, count(*) AS n FROM jobservice.job_info GROUP BY priority")
    return {row["priority"]: row["n"] for row in rows}


@pytest.mark.parametrize("status", ["QUEUED", "PENDING"])
async def test_a_new_priority_is_the_pipelines_at_once_and_daemons_give_it_to_all_of_its_jobs(
    crew: Crew, connection: asyncpg.Connection, status: str
) -> None:
    p = await submit(connection, MANY, 5, status=status)

    answer = await command(connection, "set_priority", p, "HIGH")
    at_once = await priorities(connection)
    marked = await pipeline(connection, p)
    await crew.go_on()

    assert (answer["accepted"], answer["status"]) == (True, status)
    assert at_once == {HIGH: 1000, 0: MANY - 995}
    assert (marked["priority"], marked["unsettled"]) == (HIGH, True)
    assert await priorities(connection) == {HIGH: MANY + 5}
    assert not (await pipeline(connection, p))["unsettled"]
    await check_books(connection)


async def test_jobs_that_are_added_while_a_new_priority_spreads_keep_their_own(
    crew: Crew, connection: asyncpg.Connection
) -> None:
    p = await submit(connection, {"jobs": jobs(MANY), "open": True})
    (stage,) = await stages(connection, p)

    await command(connection, "set_priority", p, "HIGH")
    (late,) = await add_jobs(connection, stage["id"], jobs(1, priority=7))
    await crew.go_on()

    assert await priorities(connection) == {HIGH: MANY, 7: 1}
    assert (await row_of(connection, late))["priority"] == 7


async def test_a_new_priority_waits_for_no_job_and_reaches_one_that_somebody_held_afterwards(
    crew: Crew, connection: asyncpg.Connection
) -> None:
    p = await submit(connection, MANY)

    async with connection.transaction():
        held = await connection.fetchval("SELECT id FROM jobservice.job_info ORDER BY number LIMIT 1 FOR UPDATE")
        await command(crew.connection, "set_priority", p, "HIGH")
        while await SETTLER.settle_next(crew.connection):
            pass
        assert await priorities(crew.connection) == {0: 1, HIGH: MANY - 1}
        assert not await SETTLER.settle_next(crew.connection), "what is held is looked at again by and by"
    await crew.go_on()

    assert (await row_of(connection, held))["priority"] == HIGH
    assert not (await pipeline(connection, p))["unsettled"]


async def test_what_is_stopped_while_a_new_priority_spreads_has_it_after_a_restart(
    crew: Crew, connection: asyncpg.Connection
) -> None:
    p = await submit(connection, MANY)

    await command(connection, "set_priority", p, "HIGH")
    await command(connection, "stop", p)
    await crew.go_on()
    assert (await pipeline(connection, p))["status"] == "ABORTED"
    await command(connection, "restart", p)
    await crew.go_on()

    assert await priorities(connection) == {HIGH: MANY}
    assert await crew.work_all() == MANY


async def test_the_last_of_two_new_priorities_counts(crew: Crew, connection: asyncpg.Connection) -> None:
    p = await submit(connection, MANY)

    await command(connection, "set_priority", p, "HIGH")
    await command(connection, "set_priority", p, "LOW")
    await crew.go_on()

    assert await priorities(connection) == {-100: MANY}


async def test_a_stage_goes_on_while_a_new_priority_spreads(crew: Crew, connection: asyncpg.Connection) -> None:
    p = await submit(connection, 1, MANY)
    first = await crew.claim()
    await command(connection, "set_priority", p, "HIGH")

    await crew.end(first)

    assert len(await crew.claim(2000)) == 1000
