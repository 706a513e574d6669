"""What one call could not move is moved by a later one: rows that somebody held, and more than 1,000 jobs."""

import asyncpg
from crew import Crew
from factory import SETTLER
from pipe_books import check_books, command, job_statuses, jobs, pipeline, stages, standing, submit

from jobservice.workflow.settling import PIPELINES_AT_ONCE, Settler


async def test_rows_that_somebody_holds_leave_a_mark_and_no_call_to_go_on_at_once(
    crew: Crew, connection: asyncpg.Connection
) -> None:
    p = await submit(connection, 1, 3)
    held = (await stages(connection, p))[1]["id"]
    hands = crew.connection

    async with connection.transaction():
        await connection.execute("SELECT FROM jobservice.job_info WHERE stage_id = $1 LIMIT 1 FOR UPDATE", held)
        await crew.work()
        goes_on_at_once = await SETTLER.settle_next(hands)
        assert goes_on_at_once is False
        assert (await pipeline(hands, p))["unsettled"]
        assert sorted(await job_statuses(hands, held)) == ["PENDING", "QUEUED", "QUEUED"]
    await SETTLER.settle_next(hands)

    assert await job_statuses(hands, held) == ["QUEUED"] * 3
    assert not (await pipeline(hands, p))["unsettled"]
    await crew.work_all()
    assert await standing(hands, p) == ("SUCCEEDED", ["SUCCEEDED"] * 2)


async def test_pipelines_of_which_somebody_holds_rows_do_not_stand_before_the_others(
    crew: Crew, connection: asyncpg.Connection
) -> None:
    stuck = [await submit(connection, {"jobs": jobs(1), "hold": True}) for _ in range(PIPELINES_AT_ONCE)]
    free = await submit(connection, {"jobs": jobs(1), "hold": True})
    await connection.execute("UPDATE jobservice.stage SET hold = false")
    await connection.execute("UPDATE jobservice.pipeline SET unsettled = true")
    settler = Settler(schema="jobservice")

    async with connection.transaction():
        await connection.execute(
            "SELECT FROM jobservice.job_info WHERE pipeline_id = ANY ($1) ORDER BY id FOR UPDATE", stuck
        )
        for _ in range(2):
            await settler.settle_next(crew.connection)
        assert not (await pipeline(crew.connection, free))["unsettled"]
    (stage,) = await stages(connection, free)
    assert await job_statuses(connection, stage["id"]) == ["QUEUED"]


async def test_a_stage_of_thousands_does_not_hold_up_small_ones_that_are_unsettled_too(
    crew: Crew, connection: asyncpg.Connection
) -> None:
    large = await submit(connection, {"jobs": jobs(2_500), "hold": True})
    small = await submit(connection, {"jobs": jobs(5), "hold": True})
    await connection.execute("UPDATE jobservice.stage SET hold = false")
    await connection.execute("UPDATE jobservice.pipeline SET unsettled = true")

    goes_on_at_once = await SETTLER.settle_next(connection)

    assert goes_on_at_once
    assert not (await pipeline(connection, small))["unsettled"]
    assert (await pipeline(connection, large))["unsettled"]
    await crew.go_on()
    await check_books(connection)


async def test_jobs_that_are_added_while_it_is_paused_wait_for_the_resume(
    crew: Crew, connection: asyncpg.Connection
) -> None:
    p = await submit(connection, {"jobs": jobs(1_500), "hold": True})
    (stage,) = await stages(connection, p)
    await connection.execute("SELECT jobservice.command_stages(ARRAY[$1::uuid], 'release')", stage["id"])

    await command(connection, "pause", p)
    await crew.go_on()
    paused = await job_statuses(connection, stage["id"])
    await command(connection, "resume", p)
    await crew.go_on()

    assert paused.count("PENDING") == 500
    assert set(await job_statuses(connection, stage["id"])) == {"QUEUED"}


async def test_a_stop_of_thousands_leaves_what_has_ended_alone_and_ends(
    crew: Crew, connection: asyncpg.Connection
) -> None:
    p = await submit(connection, 1_500, 1_500)
    await crew.work(100)
    await crew.start(running := await crew.claim(100))

    await command(connection, "stop", p, "enough")
    await crew.go_on()
    await crew.end(running)

    assert await standing(connection, p) == ("ABORTED", ["ABORTED"] * 2)
    assert [(s["succeeded"], s["aborted"]) for s in await stages(connection, p)] == [(200, 1_300), (0, 1_500)]
    await check_books(connection)
