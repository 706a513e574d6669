"""What graphql-node-jobs promises of pipelines and batches, and what was seen broken there, each as a case of ours."""

import asyncio
import json
from typing import Any

import asyncpg
from crew import NO, Crew
from factory import HeldRun, row_of
from pipe_books import (
    add_jobs,
    add_stages,
    check_books,
    command,
    job_statuses,
    jobs,
    pipeline,
    stages,
    standing,
    submit,
)

from jobservice.domain.outcomes import Succeeded
from jobservice.lifecycle.commands import Commands


async def test_a_pipeline_is_made_in_advance_reviewed_and_runs_nothing_before_its_start(
    crew: Crew, connection: asyncpg.Connection
) -> None:
    p = await submit(connection, 1, 2, status="PENDING")
    assert await crew.claim() == []

    await command(connection, "start", p)

    assert await crew.work_all() == 3
    assert await standing(connection, p) == ("SUCCEEDED", ["SUCCEEDED"] * 2)


async def test_b1_j4_j5_b2_j9_run_in_exactly_those_waves(crew: Crew, connection: asyncpg.Connection) -> None:
    sizes = [3, 1, 1, 3, 1]
    p = await submit(connection, *sizes)

    waves = [await crew.work() for _ in sizes]

    assert waves == sizes
    assert await crew.claim() == []
    assert await standing(connection, p) == ("SUCCEEDED", ["SUCCEEDED"] * 5)


async def test_the_jobs_of_a_batch_run_in_parallel_and_end_in_any_order(
    crews: Any, connection: asyncpg.Connection
) -> None:
    p = await submit(connection, 3, 1)
    one, other = await crews(), await crews()
    first, second = await one.claim(1), await other.claim(2)

    await other.end(second[::-1])
    assert await other.claim() == [], "the batch is not over"
    await one.end(first)

    assert len(await other.claim()) == 1
    await check_books(connection)
    assert (await pipeline(connection, p))["status"] == "RUNNING"


async def test_after_a_failed_job_the_next_one_never_runs_and_does_not_wait_for_ever(
    crew: Crew, connection: asyncpg.Connection
) -> None:
    p = await submit(connection, 1, 1, 1)

    await crew.work(outcome=NO)

    assert await crew.claim() == []
    assert await standing(connection, p) == ("FAILED", ["FAILED", "ABORTED", "ABORTED"])
    reasons = await connection.fetch("SELECT DISTINCT stop_reason FROM jobservice.job_info WHERE status = 'ABORTED'")
    assert [row["stop_reason"] for row in reasons] == ["stage 1 (stage-1): 1 of its 1 jobs failed"]


async def test_a_failed_batch_ends_its_pipeline_once_its_other_jobs_have_run(
    crew: Crew, connection: asyncpg.Connection
) -> None:
    p = await submit(connection, 3, 1)

    await crew.work(1, outcome=NO)
    assert (await pipeline(connection, p))["status"] == "RUNNING"
    await crew.work()

    assert await standing(connection, p) == ("FAILED", ["FAILED", "ABORTED"])
    assert (await stages(connection, p))[0]["succeeded"] == 2


async def test_of_a_batch_that_aborts_its_jobs_no_more_are_dispatched_after_a_failure(
    crew: Crew, connection: asyncpg.Connection
) -> None:
    p = await submit(connection, {"jobs": jobs(4), "on_failure": "abort_stage"}, 1)
    await crew.start(runs := await crew.claim(2))

    await crew.end(runs[:1], NO)

    assert await crew.claim() == []
    marked = await connection.fetchval(
        "SELECT stop_requested_at FROM jobservice.job_info WHERE id = $1", runs[1].job_id
    )
    assert marked is not None
    await crew.end(runs[1:])
    assert await standing(connection, p) == ("FAILED", ["FAILED", "ABORTED"])
    assert [s["succeeded"] for s in await stages(connection, p)] == [1, 0]


async def test_a_repeated_end_of_a_job_does_not_queue_the_next_one_again(
    crew: Crew, connection: asyncpg.Connection
) -> None:
    p = await submit(connection, 1, 1)
    runs = await crew.claim()
    await crew.end(runs)
    running = await crew.claim()
    await crew.start(running)

    await crew.end([HeldRun(runs[0].job_id, runs[0].run, runs[0].card, runs[0].started_at)])

    assert await crew.claim() == []
    assert await standing(connection, p) == ("RUNNING", ["SUCCEEDED", "RUNNING"])
    await crew.end(running)
    assert [s["succeeded"] for s in await stages(connection, p)] == [1, 1]


async def test_a_job_that_is_cancelled_in_a_pipeline_does_not_leave_it_stuck(
    crew: Crew, connection: asyncpg.Connection
) -> None:
    p = await submit(connection, 2, 1)

    await connection.execute("SELECT jobservice.stop(id) FROM (SELECT id FROM jobservice.job_info LIMIT 1) j")
    await crew.work_all()

    assert (await standing(connection, p))[0] in ("FAILED", "ABORTED")
    await check_books(connection)


async def test_empty_batches_are_passed_through_wherever_they_are(crew: Crew, connection: asyncpg.Connection) -> None:
    p = await submit(connection, 0, 0, 1, 0)

    assert await standing(connection, p) == ("QUEUED", ["SUCCEEDED", "SUCCEEDED", "QUEUED", "PENDING"])
    await crew.work()

    assert await standing(connection, p) == ("SUCCEEDED", ["SUCCEEDED"] * 4)


async def test_what_is_added_to_a_finished_pipeline_is_refused_with_its_status(
    crew: Crew, connection: asyncpg.Connection
) -> None:
    p = await submit(connection, 1)
    await crew.work()
    (stage,) = await stages(connection, p)

    for adding in (add_stages(connection, p, [{"jobs": jobs(1)}]), add_jobs(connection, stage["id"], jobs(1))):
        try:
            await adding
            raise AssertionError("it was accepted")
        except asyncpg.InvalidParameterValueError as refused:
            assert json.loads(refused.detail)["status"] == "SUCCEEDED"
            assert "nothing can be added" in str(refused)

    assert await job_statuses(connection, stage["id"]) == ["SUCCEEDED"]


async def test_a_known_unique_id_gives_the_job_that_there_is_and_null_matches_nothing(
    connection: asyncpg.Connection,
) -> None:
    p = await submit(connection, {"jobs": jobs(1, idempotency_key="j") + jobs(2, idempotency_key=None)})
    (stage,) = await stages(connection, p)

    (again,) = await add_jobs(connection, stage["id"], jobs(1, idempotency_key="j"))

    known = await connection.fetchval("SELECT job_id FROM jobservice.idempotency_key WHERE key = 'j'")
    assert again == known
    assert [s["total"] for s in await stages(connection, p)] == [3]
    await check_books(connection)


async def test_unique_ids_are_not_duplicated_by_eight_who_come_at_once(connect: Any) -> None:
    hands = [await connect() for _ in range(8)]
    p = await submit(hands[0], {"jobs": [], "open": True}, open=True)
    (stage,) = await stages(hands[0], p)

    made = await asyncio.gather(*(add_jobs(each, stage["id"], jobs(1, idempotency_key="one")) for each in hands))

    assert len({job_id for (job_id,) in made}) == 1
    assert (await stages(hands[0], p))[0]["total"] == 1


async def test_a_daemon_that_starts_cancels_no_job_of_one_that_lives(
    crews: Any, connection: asyncpg.Connection
) -> None:
    p = await submit(connection, 1)
    one = await crews()
    await one.start(runs := await one.claim())

    other = await crews()
    await other.go_on()
    assert await other.claim() == []
    await one.end(runs)

    assert await standing(connection, p) == ("SUCCEEDED", ["SUCCEEDED"])


async def test_a_daemon_that_does_not_own_a_run_cannot_end_it(crews: Any, connection: asyncpg.Connection) -> None:
    p = await submit(connection, 1, 1)
    owner, stranger = await crews(), await crews()
    await owner.start(runs := await owner.claim())

    await stranger.end(runs)

    assert await standing(connection, p) == ("RUNNING", ["RUNNING", "PENDING"])
    assert stranger.told.stale_runs == [(runs[0].job_id, "RUNNING")]
    await owner.end(runs)
    assert (await standing(connection, p))[1] == ["SUCCEEDED", "QUEUED"]


async def test_the_next_job_of_a_success_is_queued_with_it_exactly_once(
    crew: Crew, connection: asyncpg.Connection
) -> None:
    p = await submit(connection, 1)
    runs = await crew.claim()
    follows = Succeeded(next_jobs=json.dumps([{"job_class": "Next"}]))

    await crew.end(runs, follows)
    await crew.end(runs, follows)

    assert await connection.fetchval("SELECT count(*) FROM jobservice.job_info WHERE job_class = 'Next'") == 1
    assert await standing(connection, p) == ("SUCCEEDED", ["SUCCEEDED"])


async def test_a_job_of_a_pipeline_is_run_again_as_one_of_its_own_with_what_its_parameters_referred_to(
    crew: Crew, connection: asyncpg.Connection
) -> None:
    parameters = {"store": {"$pipeline": "store"}, "tile": {"$stage": "tile"}}
    stage = {
        "data": {"tile": {"x": 1}},
        "jobs": jobs(1, parameters=parameters) + jobs(1, parameters={"a": {"$stage": "b"}}),
    }
    p = await submit(connection, stage, data={"store": "s3"})
    await crew.work(outcome=NO)
    rows = await connection.fetch("SELECT id FROM jobservice.job_info ORDER BY number")
    first, unready = [row["id"] for row in rows]

    again, refused = await Commands().rerun(connection, [first, unready])

    assert again.new_job_id is not None
    copy = await row_of(connection, again.new_job_id)
    assert json.loads(copy["parameters"]) == {"store": "s3", "tile": {"x": 1}}
    assert (copy["pipeline_id"], copy["stage_id"], copy["rerun_of"]) == (None, None, first)
    assert (refused.accepted, refused.code) == (False, "bad_field")
    assert refused.reason is not None
    assert "'$stage.b' is missing" in refused.reason
    assert await crew.work() == 1
    assert await standing(connection, p) == ("FAILED", ["FAILED"])
    await check_books(connection)


async def test_a_restart_runs_failed_and_aborted_jobs_again_and_no_other(
    crew: Crew, connection: asyncpg.Connection
) -> None:
    p = await submit(connection, 3, 2)
    await crew.work(1, outcome=NO)
    await crew.work()
    assert await standing(connection, p) == ("FAILED", ["FAILED", "ABORTED"])

    await command(connection, "restart", p)
    waves = [await crew.work(), await crew.work()]

    assert waves == [1, 2]
    assert await standing(connection, p) == ("SUCCEEDED", ["SUCCEEDED"] * 2)
    assert [(s["succeeded"], s["failed"]) for s in await stages(connection, p)] == [(3, 0), (2, 0)]
    await check_books(connection)


async def test_of_a_hundred_who_claim_one_job_one_gets_it_and_nobody_an_error(
    crews: Any, connection: asyncpg.Connection
) -> None:
    await submit(connection, 1)
    ten = [await crews() for _ in range(10)]

    async def ten_times(crew: Crew) -> int:
        return sum([len(await crew.claim(1)) for _ in range(10)])

    assert sum(await asyncio.gather(*(ten_times(crew) for crew in ten))) == 1
