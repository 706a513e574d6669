"""What a job sees of its stage and pipeline, and may do to them: on every executor, through real daemons."""

import json
from typing import Any
from uuid import UUID

import asyncpg
import pytest
from daemons import Books, Daemons, until
from outages import Outage

from jobservice.sdk.registry import Registry

EXECUTORS = ("OnLoop", "OnThread", "InProcess")
ENDED = ("SUCCEEDED", "FAILED", "ABORTED")


def registry() -> Registry:
    return Registry.load(["stage_jobs"])


async def submit(books: Books, **fields: Any) -> UUID:
    row = await books.connection.fetchrow(
        "SELECT pipeline_id FROM jobservice.submit_pipeline($1::text::jsonb)", json.dumps(fields, default=str)
    )
    return UUID(str(row["pipeline_id"]))


async def ended(books: Books, pipeline: UUID) -> asyncpg.Record:
    async def look() -> asyncpg.Record | None:
        row = await books.connection.fetchrow("SELECT * FROM jobservice.pipeline WHERE id = $1", pipeline)
        return row if row["status"] in ENDED else None

    return await until(look, f"pipeline {pipeline} ended")


async def stages(books: Books, pipeline: UUID) -> list[asyncpg.Record]:
    query = "SELECT * FROM jobservice.stage WHERE pipeline_id = $1 ORDER BY position"
    return await books.connection.fetch(query, pipeline)


async def jobs_of(books: Books, stage: asyncpg.Record) -> list[asyncpg.Record]:
    return await books.connection.fetch(
        "SELECT * FROM jobservice.job_info WHERE stage_id = $1 ORDER BY number", stage["id"]
    )


@pytest.mark.parametrize("executor", EXECUTORS)
async def test_a_job_sees_its_stage_and_pipeline_and_its_parameters_may_refer_to_their_data(
    daemons: Daemons, books: Books, executor: str
) -> None:
    await daemons.start(registry=registry())
    job = {"job_class": f"Sees{executor}", "parameters": {"size": [{"$stage": "size"}, {"$pipeline": "x"}]}}

    pipeline = await submit(
        books,
        name="map",
        tenant="acme",
        data={"x": {"y": "é" * 1_000}},
        stages=[{}, {"name": "cut", "data": {"size": 2**70}, "user_metadata": {"by": "hand"}, "jobs": [job, job]}],
    )

    assert (await ended(books, pipeline))["status"] == "SUCCEEDED"
    (_, stage) = await stages(books, pipeline)
    for row in await jobs_of(books, stage):
        seen, size = json.loads(row["result"])
        assert seen["stage"] in ([str(stage["id"]), 2, "cut", status, 2] for status in ("QUEUED", "RUNNING"))
        assert (seen["stage_data"], seen["stage_metadata"]) == ({"size": 2**70}, {"by": "hand"})
        assert seen["pipeline"] == [str(pipeline), "map", "acme"]
        assert size == [2**70, {"y": "é" * 1_000}]


@pytest.mark.parametrize("executor", EXECUTORS)
async def test_a_job_without_a_stage_sees_none(daemons: Daemons, books: Books, executor: str) -> None:
    await daemons.start(registry=registry())

    job = await books.submit(f"Sees{executor}", {"size": 1})

    assert json.loads((await books.is_in(job, *ENDED))["result"]) == [None, 1]


async def test_a_reference_to_what_is_not_there_fails_the_job_before_its_start(daemons: Daemons, books: Books) -> None:
    await daemons.start(registry=registry())
    jobs = [{"job_class": "SeesOnLoop", "parameters": {"size": {"$stage": name}}} for name in ("size", "colour")]

    pipeline = await submit(books, name="map", stages=[{"data": {"size": 1}, "jobs": jobs}])
    alone = await books.submit("SeesOnLoop", {"size": {"$pipeline": "x"}})

    assert (await ended(books, pipeline))["status"] == "FAILED"
    good, bad = await jobs_of(books, (await stages(books, pipeline))[0])
    assert (good["status"], bad["status"], bad["start_date"]) == ("SUCCEEDED", "FAILED", None)
    assert bad["error_type"] == "jobservice.domain.errors.JobParameterMissing"
    assert "'$stage.colour' is missing" in bad["error_message"]
    row = await books.is_in(alone, *ENDED)
    assert (row["status"], row["start_date"]) == ("FAILED", None)
    assert "'$pipeline.x' is missing: the job belongs to no stage" in row["error_message"]


async def test_a_claim_of_which_the_stages_could_not_be_read_is_handed_back_and_comes_again(
    daemons: Daemons, database: Outage, books: Books
) -> None:
    await daemons.start(registry=registry())
    database.lose_answer("claim", b"only in the snapshot")

    pipeline = await submit(
        books, name="map", stages=[{"data": {"said": "only in the snapshot"}, "jobs": [{"job_class": "SeesOnLoop"}]}]
    )

    assert (await ended(books, pipeline))["status"] == "SUCCEEDED"
    (job,) = await jobs_of(books, (await stages(books, pipeline))[0])
    assert (job["run"], job["attempt"], job["lost_runs"]) == (2, 1, 0)


@pytest.mark.parametrize("executor", EXECUTORS)
async def test_a_success_changes_metadata_and_adds_jobs_also_to_a_later_stage(
    daemons: Daemons, books: Books, executor: str
) -> None:
    await daemons.start(registry=registry())

    pipeline = await submit(
        books,
        name="map",
        tenant="acme",
        stages=[
            {"user_metadata": {"gone": 1, "kept": 1}, "jobs": [{"job_class": f"Changes{executor}"}]},
            {"name": "later", "job_class": "NoOp", "user_metadata": {"waiting": 2}},
        ],
    )

    assert (await ended(books, pipeline))["status"] == "SUCCEEDED"
    first, later = await stages(books, pipeline)
    (job,) = await jobs_of(books, first)
    assert json.loads(first["user_metadata"]) == {"kept": 1, "last": str(job["id"]), "done": 1}
    assert json.loads(later["user_metadata"]) == {"waiting": 1.5}
    assert (later["total"], later["succeeded"]) == (2, 2)
    assert {row["tenant"] for row in await jobs_of(books, later)} == {"acme"}


async def test_a_thousand_jobs_at_once_count_exactly(daemons: Daemons, books: Books) -> None:
    for _ in range(2):
        await daemons.start(registry=registry(), pool={"capacity": 100})

    pipeline = await submit(books, name="count", stages=[{"job_class": "Counts", "jobs": [{}] * 1_000}])

    assert (await ended(books, pipeline))["status"] == "SUCCEEDED"
    (stage,) = await stages(books, pipeline)
    assert json.loads(stage["user_metadata"]) == {"count": 1_000}


async def test_nothing_of_a_failed_or_repeated_run_is_counted(daemons: Daemons, books: Books) -> None:
    await daemons.start(registry=registry())
    jobs = [{"parameters": {"failures": failures}} for failures in (0, 1, 2, 3)]

    pipeline = await submit(books, name="count", stages=[{"job_class": "Counts", "jobs": jobs}])

    assert (await ended(books, pipeline))["status"] == "FAILED"
    (stage,) = await stages(books, pipeline)
    assert (stage["succeeded"], stage["failed"], stage["retried"]) == (3, 1, 5)
    assert json.loads(stage["user_metadata"]) == {"count": 3}


async def test_a_job_whose_stage_refuses_fails_with_the_reason_and_the_others_are_written(
    daemons: Daemons, books: Books
) -> None:
    await daemons.start(registry=registry(), pool={"capacity": 10, "stop_grace": 60.0})
    go = daemons.directory / "go"
    adding = {"job_class": "Adds", "parameters": {"file": go}, "max_attempts": 1}
    unknown = {"job_class": "Adds", "parameters": {"file": go, "stage": "nowhere"}, "max_attempts": 1}

    # When their jobs ask, the first pipeline is ending, the second is not, and the third has no such stage.
    ending = await submit(books, name="ending", stages=[{"jobs": [adding]}])
    going = await submit(books, name="going", stages=[{"jobs": [adding]}])
    lost = await submit(books, name="lost", stages=[{"jobs": [unknown]}])

    async def three_run() -> bool:
        return await books.value("SELECT count(*) FROM jobservice.job_info WHERE status = 'RUNNING'") == 3

    await until(three_run, "three jobs wait for the file")
    await books.value("SELECT accepted FROM jobservice.command_pipelines(ARRAY[$1::uuid], 'stop')", ending)
    go.touch()

    assert [(await ended(books, each))["status"] for each in (ending, going, lost)] == [
        "ABORTED",
        "SUCCEEDED",
        "FAILED",
    ]
    (refused,), (unheard,) = [await jobs_of(books, (await stages(books, each))[0]) for each in (ending, lost)]
    assert (refused["status"], refused["error_type"]) == ("FAILED", "ResultRefused")
    assert "is ending ABORTED" in refused["error_message"]
    assert "there is no stage 'nowhere' in this pipeline" in unheard["error_message"]
    assert (await stages(books, going))[0]["succeeded"] == 2


async def test_a_job_changes_no_stage_of_another_pipeline(daemons: Daemons, books: Books) -> None:
    await daemons.start(registry=registry())
    other = await submit(books, name="other", tenant="bolt", status="PENDING", stages=[{}])
    (stage,) = await stages(books, other)

    job = {"job_class": "Adds", "parameters": {"stage": stage["id"]}, "max_attempts": 1}
    pipeline = await submit(books, name="own", tenant="acme", stages=[{"jobs": [job]}])

    assert (await ended(books, pipeline))["status"] == "FAILED"
    (refused,) = await jobs_of(books, (await stages(books, pipeline))[0])
    assert f"there is no stage {stage['id']} in this pipeline" in refused["error_message"]
    assert (await stages(books, other))[0]["total"] == 0


async def test_what_follows_is_the_same_tenants_where_it_names_no_other(daemons: Daemons, books: Books) -> None:
    await daemons.start(registry=registry())

    await books.submit("SubmitsNext", tenant="acme", queue="default")

    async def three() -> bool:
        return await books.value("SELECT count(*) FROM jobservice.job_info") == 3

    await until(three, "two jobs follow")
    rows = await books.connection.fetch("SELECT tenant FROM jobservice.job_info ORDER BY number")
    assert [row["tenant"] for row in rows] == ["acme", "acme", "bolt"]
