"""Pipelines from outside, with a database: created, read, listed, awaited, without any daemon."""

import asyncio
from typing import Any
from uuid import UUID, uuid4

import asyncpg
import pytest
from pipelines_made import ABORTED, PENDING, QUEUED, SUCCEEDED, two_stages

from jobservice import JobInfo, JobInfoService, JobStatus, Pipeline, Stage
from jobservice.domain.errors import (
    ConfigurationError,
    InvalidSubmission,
    UnknownPipeline,
    UnknownStage,
)


async def test_a_pipeline_is_read_back_as_it_was_submitted(jobs: JobInfoService) -> None:
    created = await jobs.pipelines.create(
        Pipeline(
            "create-map", tenant="acme", queue="maps", priority="HIGH", owner="me", description="d", correlation_id="c",
            data={"bucket": "maps", "n": 2**70}, user_metadata={"a": [1]}, status=PENDING, open=True,
            idempotency_key="i",
            stages=[
                Stage("one", job_class="Nap", data={"r": 0.5}, user_metadata={"b": None}, hold=True, open=True,
                      on_failure="continue", allowed_failures=0.25, max_attempts=7, jobs=[{}, {"priority": -3}]),
                Stage(),
            ],
        )
    )  # fmt: skip

    read = await jobs.pipelines.get(created.pipeline_id)

    assert read == created
    assert (read.tenant, read.name, read.queue, read.priority, read.owner) == ("acme", "create-map", "maps", 100, "me")
    assert (read.description, read.correlation_id, read.idempotency_key) == ("d", "c", "i")
    assert (read.data, read.user_metadata) == ({"bucket": "maps", "n": 2**70}, {"a": [1]})
    assert (read.status, read.open, read.paused, read.ending) == (PENDING, True, False, None)
    one, two = read.stages
    assert (one.position, one.name, one.job_class, one.hold, one.open) == (1, "one", "Nap", True, True)
    assert (one.on_failure, one.allowed_failures, one.max_attempts) == ("continue", 0.25, 7)
    assert (one.data, one.user_metadata, one.total) == ({"r": 0.5}, {"b": None}, 2)
    assert (two.position, two.name, two.job_class, two.total, two.status) == (2, "stage-2", None, 0, PENDING)


async def test_a_mapping_serves_as_well_as_a_pipeline(jobs: JobInfoService) -> None:
    created = await jobs.pipelines.create({"name": "p", "stages": [{"jobs": [{"job_class": "Nap"}]}, {"hold": True}]})

    assert [(stage.name, stage.status, stage.hold) for stage in created.stages] == [
        ("stage-1", QUEUED, False),
        ("stage-2", PENDING, True),
    ]


async def test_jobs_are_counted_by_their_status_when_asked_for(jobs: JobInfoService) -> None:
    created = await jobs.pipelines.create(two_stages())

    counted = await jobs.pipelines.get(created.pipeline_id, counted=True)
    plain = await jobs.pipelines.stages(created.pipeline_id)

    assert [(stage.pending, stage.queued, stage.running) for stage in counted.stages] == [(0, 2, 0), (1, 0, 0)]
    assert [(stage.pending, stage.queued, stage.running) for stage in plain] == [(None, None, None)] * 2
    assert await jobs.pipelines.stage(plain[1].stage_id, counted=True) == counted.stages[1]


BAD: list[tuple[Any, str]] = [
    (Pipeline("no.dots"), "name"),
    (Pipeline("p", tenant="no.dots"), "tenant"),
    (Pipeline("p", data={"a": [float("nan")]}), "data.a[0]"),
    (Pipeline("p", status=SUCCEEDED), "status"),
    (Pipeline("p", stages=[Stage(), Stage("no dots.")]), "stages[1].name"),
    (Pipeline("p", stages=[Stage(jobs=[{"job_class": "Nap"}, {}])]), "stages[0].jobs[1].job_class"),
    (Pipeline("p", stages=[Stage(jobs=[{"job_class": "Nap", "status": "PENDING"}])]), "stages[0].jobs[0].status"),
    (Pipeline("p", stages=[Stage(jobs=[{"parameters": {"a": "\x00"}}])]), "stages[0].jobs[0].parameters.a"),
    (Pipeline("p", stages=[Stage(jobs=[JobInfo("Nap"), 5])]), "stages[0].jobs[1]"),
    (Pipeline("p", stages=[Stage(allowed_failures=0.5)]), "stages[0].allowed_failures"),
    ({"name": "p", "stages": [{"jobs": [{"job_class": "Nap", "prio": 1}]}]}, "stages[0].jobs[0].prio"),
    ({"name": "p", "stage": []}, "stage"),
    ({"name": "p", "stages": [{"data": {"a": object()}}]}, "stages[0].data.a"),
    ({}, "name"),
]


async def test_a_bad_one_is_refused_whole_with_the_path_of_the_field(jobs: JobInfoService) -> None:
    for pipeline, field in BAD:
        with pytest.raises(InvalidSubmission) as caught:
            await jobs.pipelines.create(pipeline)
        assert (caught.value.field, field in str(caught.value)) == (field, True)

    assert (await jobs.pipelines.count(), await jobs.count()) == (0, 0)


async def test_the_same_key_of_a_tenant_again_gives_the_pipeline_that_is_there(jobs: JobInfoService) -> None:
    first = await jobs.pipelines.create(two_stages(idempotency_key="k"))
    await jobs.pipelines.stop(first.pipeline_id)

    again = await jobs.pipelines.create(two_stages(idempotency_key="k"))
    others = await jobs.pipelines.create(two_stages(idempotency_key="k", tenant="other"))

    assert (again.pipeline_id, again.status) == (first.pipeline_id, ABORTED)
    assert others.pipeline_id != first.pipeline_id


async def test_ten_thousand_jobs_are_created_in_one_call_started_and_stopped_without_a_daemon(
    jobs: JobInfoService,
) -> None:
    tile = {"parameters": {"x": 1, "y": 2, "note": "x" * 100}}
    created = await jobs.pipelines.create(
        Pipeline("large", status=PENDING, stages=[Stage(job_class="ProcessTile", jobs=[tile] * 10_000)])
    )
    await jobs.pipelines.start(created.pipeline_id)
    (queued,) = await jobs.pipelines.stages(created.pipeline_id, counted=True)

    (result,) = await jobs.pipelines.stop(created.pipeline_id, reason="enough")

    assert (queued.total, queued.pending, queued.queued) == (10_000, 0, 10_000)
    assert result.status is ABORTED
    stopped = await jobs.pipelines.get(created.pipeline_id)
    assert (stopped.status, stopped.reason, stopped.stages[0].aborted) == (ABORTED, "enough", 10_000)


async def test_in_the_callers_transaction_it_is_there_with_the_commit_and_gone_with_the_rollback(
    jobs: JobInfoService, connection: asyncpg.Connection
) -> None:
    pipelines = jobs.pipelines
    there = await pipelines.create(two_stages(status=PENDING))
    rolled_back = connection.transaction()
    await rolled_back.start()
    gone = await pipelines.create(two_stages(), connection=connection)
    added = await pipelines.add_stage(gone.pipeline_id, Stage(jobs=[{"job_class": "Nap"}]), connection=connection)
    await pipelines.add_jobs(added.stage_id, [{"job_class": "Nap"}], connection=connection)
    await pipelines.start(there.pipeline_id, connection=connection)
    await pipelines.update_stage_metadata(there.stages[0].stage_id, {"a": 1}, connection=connection)

    await rolled_back.rollback()

    assert (await pipelines.count(), await jobs.count()) == (1, 3)
    assert await pipelines.get(there.pipeline_id) == there
    async with connection.transaction():
        kept = await pipelines.create(two_stages(), connection=connection)
        await pipelines.stop(kept.pipeline_id, connection=connection)
        with pytest.raises(UnknownPipeline):
            await pipelines.get(kept.pipeline_id)
    assert (await pipelines.get(kept.pipeline_id)).status is ABORTED


async def test_unknown_stages_and_pipelines_are_named_by_whoever_asks_for_them(jobs: JobInfoService) -> None:
    unknown, pipelines = uuid4(), jobs.pipelines

    for asked in (
        pipelines.release(unknown),
        pipelines.seal_stage(unknown),
        pipelines.update_stage_metadata(unknown, {}),
        pipelines.increment_stage_metadata(unknown, "n"),
        pipelines.add_jobs(unknown, [JobInfo("Nap")]),
        pipelines.stage(unknown),
        pipelines.stage_jobs(unknown),
    ):
        with pytest.raises(UnknownStage, match=str(unknown)):
            await asked
    for missing in (
        pipelines.get(unknown),
        pipelines.stages(unknown),
        pipelines.add_stage(unknown, Stage()),
        pipelines.wait(unknown),
    ):
        with pytest.raises(UnknownPipeline, match=str(unknown)):
            await missing


async def test_pages_of_pipelines_follow_each_other_newest_first(jobs: JobInfoService) -> None:
    created = [await jobs.pipelines.create(Pipeline("p", tenant=f"t{n % 2}", owner="me")) for n in range(7)]
    await jobs.pipelines.create(Pipeline("other", tenant="t1", stages=[Stage(hold=True)]))

    for wanted, expected in (
        ({"owner": "me"}, created),
        ({"tenant": "t1", "name": "p"}, created[1::2]),
        ({"status": SUCCEEDED, "tenant": "t0"}, created[0::2]),
        ({"status": [SUCCEEDED, ABORTED]}, created),
        ({"name": "missing"}, []),
    ):
        seen: list[UUID] = []
        after = None
        while True:
            page = await jobs.pipelines.find(**wanted, limit=2, after=after)
            seen += [each.pipeline_id for each in page.pipelines]
            after = page.next
            if after is None:
                break
        assert seen == [each.pipeline_id for each in reversed(expected)]
        assert await jobs.pipelines.count(**wanted) == len(expected)


async def test_the_jobs_of_a_stage_come_in_the_order_of_their_submission(jobs: JobInfoService) -> None:
    created = await jobs.pipelines.create(
        Pipeline("p", stages=[Stage(job_class="Nap", jobs=[{"description": str(n)} for n in range(5)]), Stage()])
    )
    first, second = created.stages
    all_of_it = await jobs.pipelines.stage_jobs(first.stage_id)
    await jobs.stop(all_of_it.jobs[1].id, all_of_it.jobs[3].id)

    page = await jobs.pipelines.stage_jobs(first.stage_id, limit=3)
    rest = await jobs.pipelines.stage_jobs(first.stage_id, limit=3, after=page.next)
    stopped = await jobs.pipelines.stage_jobs(first.stage_id, status=JobStatus.ABORTED)

    assert [job.description for job in (*page.jobs, *rest.jobs)] == list("01234")
    assert ([job.description for job in stopped.jobs], rest.next) == (["1", "3"], None)
    assert (await jobs.pipelines.stage_jobs(second.stage_id)).jobs == []


async def test_waiting_ends_with_the_pipeline_and_not_before(jobs: JobInfoService) -> None:
    created = await jobs.pipelines.create(two_stages())
    waiting = asyncio.create_task(jobs.pipelines.wait(created.pipeline_id, timeout=30))
    with pytest.raises(TimeoutError, match=f"pipeline {created.pipeline_id} is still QUEUED"):
        await jobs.pipelines.wait(created.pipeline_id, timeout=0.01)

    await jobs.pipelines.stop(created.pipeline_id)

    ended = await waiting
    assert (ended.status, [stage.status for stage in ended.stages]) == (ABORTED, [ABORTED, ABORTED])


async def test_all_of_it_works_without_prepared_statements_as_behind_a_transaction_pooler(database_url: str) -> None:
    async with JobInfoService.connect(database_url, statement_cache=False) as service:
        created = await service.pipelines.create(Pipeline("p", stages=[Stage(job_class="Nap", jobs=[{}] * 2_001)]))
        await service.pipelines.increment_stage_metadata(created.stages[0].stage_id, "n")
        await service.pipelines.stop(created.pipeline_id)

        ended = await service.pipelines.get(created.pipeline_id, counted=True)

    assert (ended.status, ended.stages[0].user_metadata, ended.stages[0].queued) == (ABORTED, {"n": 1}, 0)


async def test_a_client_without_a_database_says_what_is_missing(amqp_url: str) -> None:
    async with JobInfoService.connect(amqp_url=amqp_url) as service:
        for asked in (service.pipelines.get(uuid4()), service.pipelines.find(), service.pipelines.wait(uuid4())):
            with pytest.raises(ConfigurationError, match="database_url"):
                await asked
