"""What Jobnik promises of jobs, stages and tasks, and what was seen broken there, each as a case of ours."""

import json
from dataclasses import replace
from typing import Any

import asyncpg
import pytest
from crew import NO, Crew
from factory import SETTLER
from pipe_books import (
    add_jobs,
    add_stages,
    check_books,
    command,
    command_stage,
    job_statuses,
    jobs,
    pipeline,
    stages,
    standing,
    submit,
)

from jobservice.domain.outcomes import Retried
from jobservice.lifecycle.rescue import Rescuer


async def test_a_stage_has_the_counts_of_its_tasks_and_floor_percentages(
    crew: Crew, connection: asyncpg.Connection
) -> None:
    p = await submit(connection, 3, 3)

    await crew.work(2)

    first, second = await stages(connection, p)
    assert (first["total"], first["succeeded"], first["percent_completed"]) == (3, 2, 66)
    assert second["percent_completed"] == 0
    assert (await pipeline(connection, p))["percent_completed"] == 33


async def test_the_first_dequeue_that_runs_makes_stage_and_job_running_with_a_start_date(
    crew: Crew, connection: asyncpg.Connection
) -> None:
    p = await submit(connection, 2)

    runs = await crew.claim(1)
    claimed = await standing(connection, p)
    await crew.start(runs)

    assert claimed == ("QUEUED", ["QUEUED"])
    assert await standing(connection, p) == ("RUNNING", ["RUNNING"])
    assert (await pipeline(connection, p))["start_date"] is not None


async def test_stage_and_job_have_started_when_the_first_task_did_whatever_is_written_first(
    crews: Any, connection: asyncpg.Connection
) -> None:
    p = await submit(connection, 1, 2)
    one, other = await crews(), await crews()
    await one.work()
    (early,), late = await one.claim(1), await other.claim(1)

    await other.start(late)
    await one.start([replace(early, started_at=0.0)])  # no later than its claim

    first, second = await connection.fetch(
        """SELECT s.start_date AS told, min(j.start_date) AS begun, max(j.start_date) AS latest
           FROM jobservice.stage s JOIN jobservice.job_info j ON j.stage_id = s.id GROUP BY s.id ORDER BY s.position"""
    )
    assert first["told"] == first["begun"] == (await pipeline(connection, p))["start_date"]
    assert second["told"] == second["begun"] < second["latest"]
    await check_books(connection)


async def test_tasks_come_by_the_priority_of_their_job_which_may_be_changed_while_they_wait(
    crew: Crew, connection: asyncpg.Connection
) -> None:
    low = await submit(connection, 1, priority="LOW")
    high = await submit(connection, 1, priority="HIGH")
    late = await submit(connection, 1, priority="VERY_LOW")

    await command(connection, "set_priority", late, "VERY_HIGH")

    order = [(await crew.claim(1))[0].card.pipeline_id for _ in range(3)]
    assert order == [late, high, low]


async def test_a_task_that_fails_is_retried_and_counted_and_the_stage_goes_on(
    crew: Crew, connection: asyncpg.Connection
) -> None:
    p = await submit(connection, 1, 1)

    await crew.work(1, Retried(NO, 0.0))
    first, _ = await stages(connection, p)
    await crew.work_all()

    assert (first["retried"], first["failed"], first["status"]) == (1, 0, "RUNNING")
    assert await standing(connection, p) == ("SUCCEEDED", ["SUCCEEDED"] * 2)


async def test_a_task_in_a_stage_has_three_attempts_unless_it_or_its_stage_says_otherwise(
    connection: asyncpg.Connection,
) -> None:
    await submit(connection, 1, {"jobs": jobs(1) + jobs(1, max_attempts=5), "max_attempts": 2})

    rows = await connection.fetch("SELECT max_attempts FROM jobservice.job_info ORDER BY number")

    assert [row["max_attempts"] for row in rows] == [3, 2, 5]


async def test_a_pause_in_the_middle_of_a_stage_lets_running_tasks_end_and_is_counted_and_resumed(
    crew: Crew, connection: asyncpg.Connection
) -> None:
    p = await submit(connection, 3, 1)
    await crew.start(runs := await crew.claim(1))

    await command(connection, "pause", p)
    assert await crew.claim() == []
    await crew.end(runs)
    paused = await stages(connection, p)
    await command(connection, "resume", p)

    assert paused[0]["succeeded"] == 1
    assert await crew.work_all() == 3
    assert await standing(connection, p) == ("SUCCEEDED", ["SUCCEEDED"] * 2)


async def test_reports_of_a_paused_or_stopped_job_are_taken(crew: Crew, connection: asyncpg.Connection) -> None:
    paused, stopped = await submit(connection, 1), await submit(connection, 2)
    runs = {run.job_id: run for run in await crew.claim(2)}
    await crew.start(list(runs.values()))

    await command(connection, "pause", paused)
    await command(connection, "stop", stopped)
    await crew.end(list(runs.values()))

    ended = await connection.fetch("SELECT status FROM jobservice.job_info WHERE id = ANY ($1)", list(runs))
    assert {row["status"] for row in ended} == {"SUCCEEDED"}
    assert (await standing(connection, stopped))[0] == "ABORTED"
    await check_books(connection)


async def test_a_job_is_not_final_before_its_second_stage_is_added(crew: Crew, connection: asyncpg.Connection) -> None:
    p = await submit(connection, 1, open=True)
    await crew.work()
    assert (await standing(connection, p))[0] == "RUNNING"

    await add_stages(connection, p, [{"jobs": jobs(1)}])
    await command(connection, "seal", p)

    assert await standing(connection, p) == ("RUNNING", ["SUCCEEDED", "QUEUED"])
    await crew.work()
    assert (await standing(connection, p))[0] == "SUCCEEDED"


async def test_stages_and_tasks_may_be_added_while_the_job_runs(crew: Crew, connection: asyncpg.Connection) -> None:
    p = await submit(connection, 2)
    await crew.work(1)
    (stage,) = await stages(connection, p)

    await add_jobs(connection, stage["id"], jobs(2))
    await add_stages(connection, p, [{"jobs": jobs(1)}])

    assert await crew.work_all() == 4
    assert [s["total"] for s in await stages(connection, p)] == [4, 1]
    await check_books(connection)


async def test_no_task_slips_into_a_stage_that_is_complete(crew: Crew, connection: asyncpg.Connection) -> None:
    p = await submit(connection, 1, 1)
    await crew.work(1)
    first, _ = await stages(connection, p)

    with pytest.raises(asyncpg.InvalidParameterValueError, match="it has SUCCEEDED"):
        await add_jobs(connection, first["id"], jobs(1))

    assert await job_statuses(connection, first["id"]) == ["SUCCEEDED"]


async def test_an_old_workers_report_is_refused_and_the_owners_is_taken(
    crews: Any, connection: asyncpg.Connection
) -> None:
    p = await submit(connection, 1)
    old, owner = await crews(), await crews()
    await old.start(stale := await old.claim())
    rescuer = Rescuer(schema="jobservice", max_lost_runs=3, follower=SETTLER)
    assert await rescuer.mark_lost_and_rescue(connection, old.id, 0)
    await owner.start(runs := await owner.claim())

    await old.end(stale, NO)
    assert await standing(connection, p) == ("RUNNING", ["RUNNING"])
    await owner.end(runs)

    assert await standing(connection, p) == ("SUCCEEDED", ["SUCCEEDED"])
    assert (await stages(connection, p))[0]["failed"] == 0


async def test_a_repeated_report_is_harmless(crew: Crew, connection: asyncpg.Connection) -> None:
    p = await submit(connection, 2)
    runs = await crew.claim(1)

    await crew.end(runs)
    await crew.end(runs)

    assert crew.told.stale_runs == []
    assert (await stages(connection, p))[0]["succeeded"] == 1


async def test_an_abort_cascades_to_waiting_tasks_and_marks_the_running(
    crew: Crew, connection: asyncpg.Connection
) -> None:
    p = await submit(connection, 3, 2)
    await crew.start(runs := await crew.claim(1))

    await command(connection, "stop", p, "wrong map")

    first, second = await stages(connection, p)
    assert await job_statuses(connection, second["id"]) == ["ABORTED"] * 2
    assert sorted(await job_statuses(connection, first["id"])) == ["ABORTED", "ABORTED", "RUNNING"]
    assert second["reason"] == "wrong map"
    await crew.end(runs, NO)
    assert (await standing(connection, p))[0] == "ABORTED"


@pytest.mark.parametrize("nothing", [{}, {"jobs": []}, {"jobs": None}])
async def test_a_stage_without_tasks_is_no_error_and_ends_as_it_opens(
    connection: asyncpg.Connection, nothing: dict[str, Any]
) -> None:
    p = await submit(connection, nothing)

    assert await standing(connection, p) == ("SUCCEEDED", ["SUCCEEDED"])


async def test_hundreds_of_stages_without_tasks_are_told_in_rows_of_a_thousand_facts_at_most(
    connection: asyncpg.Connection,
) -> None:
    p = await submit(connection, *[{} for _ in range(600)])

    assert await standing(connection, p) == ("SUCCEEDED", ["SUCCEEDED"] * 600)
    rows = await connection.fetch(
        "SELECT jsonb_array_length(facts) AS facts FROM jobservice.pipeline_outbox ORDER BY id"
    )
    assert [row["facts"] for row in rows] == [1, 1_000, 201]
    await check_books(connection)


async def test_an_empty_list_of_tasks_is_added_without_harm(crew: Crew, connection: asyncpg.Connection) -> None:
    p = await submit(connection, 1)
    (stage,) = await stages(connection, p)

    assert await add_jobs(connection, stage["id"], []) == []

    await crew.work()
    assert (await standing(connection, p))[0] == "SUCCEEDED"


async def test_a_failure_stores_its_reason_on_job_stage_and_task(crew: Crew, connection: asyncpg.Connection) -> None:
    p = await submit(connection, {"name": "process", "jobs": jobs(2)})

    await crew.work(1, outcome=NO)
    await crew.work()

    (stage,) = await stages(connection, p)
    reason = "stage 1 (process): 1 of its 2 jobs failed"
    assert (stage["reason"], (await pipeline(connection, p))["reason"]) == (reason, reason)
    failed = await connection.fetchrow("SELECT * FROM jobservice.job_info WHERE status = 'FAILED'")
    assert (failed["error_type"], failed["error_message"]) == ("ValueError", "no")


async def test_a_waiting_stage_opens_when_a_human_releases_it(crew: Crew, connection: asyncpg.Connection) -> None:
    p = await submit(connection, 1, {"jobs": jobs(1), "hold": True})
    await crew.work()
    _, gate = await stages(connection, p)
    assert (gate["status"], await crew.claim()) == ("PENDING", [])

    await command_stage(connection, "release", gate["id"])

    assert await crew.work() == 1
    assert (await standing(connection, p))[0] == "SUCCEEDED"


async def test_metadata_of_a_running_stage_is_merged_and_counters_do_not_overwrite_each_other(
    connection: asyncpg.Connection, connect: Any
) -> None:
    p = await submit(connection, {"jobs": jobs(1), "user_metadata": {"a": 1, "b": 2}})
    (stage,) = await stages(connection, p)
    hands = [await connect() for _ in range(2)]

    await command_stage(hands[0], "update_metadata", stage["id"], {"b": None, "c": 3})
    for _ in range(5):
        for each in hands:
            await command_stage(each, "increment_metadata", stage["id"], {"key": "n", "by": 1})

    assert json.loads((await stages(connection, p))[0]["user_metadata"]) == {"a": 1, "c": 3, "n": 10}


async def test_a_finished_job_is_deleted_with_its_stages_and_tasks_and_a_running_one_is_not(
    crew: Crew, connection: asyncpg.Connection
) -> None:
    p = await submit(connection, 1, 1)
    refused = await command(connection, "delete", p)
    await crew.work_all()
    await connection.execute("DELETE FROM jobservice.outbox")

    accepted = await command(connection, "delete", p)

    assert (refused["accepted"], refused["status"]) == (False, "QUEUED")
    assert accepted["accepted"]
    assert await connection.fetchval("SELECT count(*) FROM jobservice.job_info") == 0
    assert await connection.fetchval("SELECT count(*) FROM jobservice.stage") == 0


async def test_create_map_fifty_tiles_one_in_ten_failing_once_passes_the_gate_and_ends(
    crew: Crew, connection: asyncpg.Connection
) -> None:
    p = await submit(
        connection,
        {"name": "process", "job_class": "ProcessTile", "jobs": [{"parameters": {"x": x}} for x in range(50)]},
        {"name": "upload", "job_class": "UploadTile", "hold": True, "jobs": [{} for _ in range(50)]},
        name="create-map", priority="HIGH",
    )  # fmt: skip
    for n in range(10):
        await crew.work(1, Retried(NO, 0.0) if n % 2 else None)
    await crew.work_all()
    process, upload = await stages(connection, p)

    await command_stage(connection, "release", upload["id"])
    await crew.work_all()

    assert (process["succeeded"], process["retried"]) == (50, 5)
    assert await standing(connection, p) == ("SUCCEEDED", ["SUCCEEDED"] * 2)
    assert (await pipeline(connection, p))["priority"] == 100
    await check_books(connection)
