"""What jobs ask of stages with their success, in the flush that writes many of them at once."""

import json
from typing import Any

import asyncpg
from crew import Crew
from factory import row_of
from pipe_books import check_books, command, jobs, stages, standing, submit

from jobservice.domain.outcomes import Succeeded


def asks(stage: Any, **change: Any) -> Succeeded:
    named = {"pipeline_id": str(stage["pipeline_id"]), "stage_id": str(stage["id"])}
    return Succeeded(stage_changes=json.dumps([named | change]))


async def test_one_whose_pipeline_ends_fails_with_the_reason_and_the_others_of_its_flush_are_written(
    connection: asyncpg.Connection, crew: Crew
) -> None:
    ending, going = await submit(connection, 3, name="ending"), await submit(connection, 3, name="going")
    await crew.start(runs := await crew.claim())
    await command(connection, "stop", ending, "enough")

    for run in runs:
        (stage,) = await stages(connection, ending if run.card.pipeline_id == ending else going)
        crew.writer.finish(run, asks(stage, jobs=jobs(1)))
    await crew.writer.run_once()

    rows = [await row_of(connection, run.job_id) for run in runs]
    refused = [row for row in rows if row["pipeline_id"] == ending]
    assert {row["status"] for row in rows if row["pipeline_id"] == going} == {"SUCCEEDED"}
    assert {row["status"] for row in refused} == {"FAILED"}
    assert all("is ending ABORTED" in row["error_message"] for row in refused)
    assert [(await standing(connection, each))[0] for each in (ending, going)] == ["ABORTED", "RUNNING"]
    assert (await stages(connection, going))[0]["total"] == 6
    await check_books(connection)


async def test_changes_of_one_stage_by_many_jobs_of_a_flush_are_applied_in_order_and_none_is_lost(
    connection: asyncpg.Connection, crew: Crew
) -> None:
    p = await submit(connection, {"jobs": jobs(50), "user_metadata": {"n": 0.5, "gone": 1}})
    (stage,) = await stages(connection, p)
    runs = await crew.claim()

    for n, run in enumerate(runs):
        changes = [
            {"increment": "n", "by": 2},
            {"merge": {f"job{n}": n, "gone": None}},
            {"increment": f"job{n}", "by": 1},
        ]
        named = {"pipeline_id": str(p), "stage_id": str(stage["id"])}
        crew.writer.finish(run, Succeeded(stage_changes=json.dumps([named | change for change in changes])))
    await crew.writer.run_once()

    (stage,) = await stages(connection, p)
    assert json.loads(stage["user_metadata"]) == {"n": 100.5, **{f"job{n}": n + 1 for n in range(50)}}
    assert stage["status"] == "SUCCEEDED"


async def test_what_is_no_number_is_not_incremented_and_the_job_says_so(
    connection: asyncpg.Connection, crew: Crew
) -> None:
    p = await submit(connection, {"jobs": jobs(2), "user_metadata": {"n": "five", "m": None}})
    (stage,) = await stages(connection, p)
    first, second = await crew.claim()

    crew.writer.finish(first, asks(stage, increment="n", by=1))
    crew.writer.finish(second, asks(stage, increment="m", by=1))
    await crew.writer.run_once()

    failed = await row_of(connection, first.job_id)
    assert failed["status"] == "FAILED"
    assert "user_metadata.n is no number, and cannot be incremented" in failed["error_message"]
    (stage,) = await stages(connection, p)
    assert json.loads(stage["user_metadata"]) == {"n": "five", "m": 1}


async def test_what_makes_the_metadata_too_large_is_refused_and_the_job_says_so(
    connection: asyncpg.Connection, crew: Crew
) -> None:
    p = await submit(connection, {"jobs": jobs(2), "user_metadata": {"text": "x" * 1_000_000}})
    (stage,) = await stages(connection, p)
    small, large = await crew.claim()

    crew.writer.finish(small, asks(stage, merge={"more": "x"}))
    crew.writer.finish(large, asks(stage, merge={"much": "x" * 100_000}))
    await crew.writer.run_once()

    failed = await row_of(connection, large.job_id)
    assert (failed["status"], (await row_of(connection, small.job_id))["status"]) == ("FAILED", "SUCCEEDED")
    assert "user_metadata is larger than 1 MiB" in failed["error_message"]
    (stage,) = await stages(connection, p)
    assert json.loads(stage["user_metadata"]).keys() == {"text", "more"}


async def test_a_name_means_the_first_such_stage_from_the_jobs_own_on(
    connection: asyncpg.Connection, crew: Crew
) -> None:
    p = await submit(connection, {"name": "a"}, {"name": "b", "jobs": jobs(1)}, {"name": "a"}, {"name": "a"})
    own = (await stages(connection, p))[1]
    (run,) = await crew.claim()

    change = {"pipeline_id": str(p), "stage": "a", "from": str(own["id"]), "increment": "n", "by": 1}
    await crew.end([run], Succeeded(stage_changes=json.dumps([change])))

    metadata = [json.loads(stage["user_metadata"]) for stage in await stages(connection, p)]
    assert metadata == [{}, {}, {"n": 1}, {}]
