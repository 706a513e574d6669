"""Pipelines driven from outside, with a database: started, grown, held, stopped and restarted, without any daemon."""

import asyncio
from functools import partial
from typing import Any
from uuid import uuid4

import asyncpg
import pytest
from pipelines_made import ABORTED, PENDING, QUEUED, SUCCEEDED, in_status, two_stages

from jobservice import JobInfo, JobInfoService, JobStatus, Pipeline, PipelineStatus, Stage
from jobservice.domain.errors import (
    InvalidSubmission,
    NotLegal,
    UnavailableError,
    UnknownPipeline,
)
from jobservice.domain.pipelines import PIPELINE_VERBS, PipelineVerb

ARGUMENTS: dict[PipelineVerb, list[Any]] = {
    PipelineVerb.SET_PRIORITY: ["HIGH"],
    PipelineVerb.UPDATE_METADATA: [{"a": 1}],
}


async def test_in_the_callers_transaction_thousands_are_stopped_too(
    jobs: JobInfoService, connection: asyncpg.Connection
) -> None:
    async with connection.transaction():
        created = await jobs.pipelines.create(
            Pipeline("large", stages=[Stage(job_class="Nap", jobs=[{}] * 2_500)]), connection=connection
        )
        (result,) = await jobs.pipelines.stop(created.pipeline_id, connection=connection)

    assert result.status is ABORTED
    assert await jobs.count(status=JobStatus.ABORTED) == 2_500


async def test_of_three_simultaneous_starts_one_wins(jobs: JobInfoService) -> None:
    waiting = await jobs.pipelines.create(two_stages(status=PENDING))

    started = await asyncio.gather(
        *(jobs.pipelines.start(waiting.pipeline_id) for _ in range(3)), return_exceptions=True
    )

    refused = [each for each in started if isinstance(each, NotLegal)]
    assert (len(started), len(refused)) == (3, 2)
    assert str(refused[0]) == f"cannot start pipeline {waiting.pipeline_id}: it is QUEUED"
    (first, _) = await jobs.pipelines.stages(waiting.pipeline_id, counted=True)
    assert (first.queued, first.sequence) == (2, 2)


async def test_stages_added_at_the_same_time_get_positions_of_their_own(jobs: JobInfoService) -> None:
    empty = await jobs.pipelines.create(Pipeline("p", open=True))

    added = await asyncio.gather(*(jobs.pipelines.add_stage(empty.pipeline_id, Stage(open=True)) for _ in range(8)))

    assert sorted(stage.position for stage in added) == [1, 2, 3, 4, 5, 6, 7, 8]
    read = await jobs.pipelines.stages(empty.pipeline_id)
    assert [stage.stage_id for stage in read] == [each.stage_id for each in sorted(added, key=lambda s: s.position)]


async def test_a_pipeline_grows_step_by_step_and_finishes_only_when_it_is_sealed(jobs: JobInfoService) -> None:
    pipelines = jobs.pipelines
    created = await pipelines.create(Pipeline("p", open=True))
    stage = await pipelines.add_stage(created.pipeline_id, Stage("s", job_class="Nap", open=True))
    ids = await pipelines.add_jobs(stage.stage_id, [{}, JobInfo("Other", priority=3)])

    added = [await jobs.get(each) for each in ids]
    assert [(job.job_class, job.status, job.stage_id) for job in added] == [
        ("Nap", "QUEUED", stage.stage_id),
        ("Other", "QUEUED", stage.stage_id),
    ]
    await jobs.stop(*ids)
    assert (await pipelines.get(created.pipeline_id)).status is QUEUED
    await pipelines.seal_stage(stage.stage_id)
    sealed = await pipelines.get(created.pipeline_id)
    assert (sealed.status, sealed.stages[0].status) == (PipelineStatus.FAILED, PipelineStatus.FAILED)


async def test_nothing_is_added_to_what_has_ended(jobs: JobInfoService) -> None:
    ended = await in_status(jobs, ABORTED)
    done = await in_status(jobs, SUCCEEDED)

    with pytest.raises(NotLegal, match=f"cannot add a stage to pipeline {ended.pipeline_id}: it is ABORTED"):
        await jobs.pipelines.add_stage(ended.pipeline_id, Stage())
    with pytest.raises(NotLegal, match=f"cannot add jobs to stage {done.stages[0].stage_id}: it is SUCCEEDED"):
        await jobs.pipelines.add_jobs(done.stages[0].stage_id, [JobInfo("Nap")])
    with pytest.raises(InvalidSubmission) as caught:
        await jobs.pipelines.add_stage((await in_status(jobs, QUEUED)).pipeline_id, Stage(jobs=[{"job_class": 5}]))
    assert caught.value.field == "stages[0].jobs[0].job_class"


@pytest.mark.parametrize("status", [PENDING, QUEUED, SUCCEEDED, ABORTED])
async def test_each_verb_is_taken_where_the_table_says_so_and_refused_with_the_state_elsewhere(
    status: PipelineStatus, jobs: JobInfoService, connection: asyncpg.Connection
) -> None:
    for verb in PipelineVerb:
        pipeline = await in_status(jobs, status)
        await connection.execute("DELETE FROM jobservice.outbox")  # else `delete` waits until they are published
        apply = partial(getattr(jobs.pipelines, verb), pipeline.pipeline_id, *ARGUMENTS.get(verb, []))

        if status in PIPELINE_VERBS[verb]:
            (result,) = await apply()
            assert (result.id, result.accepted) == (pipeline.pipeline_id, True)
            continue
        with pytest.raises(NotLegal, match=f" pipeline {pipeline.pipeline_id}: it is {status}") as caught:
            await apply()
        assert caught.value.status == status
        assert await jobs.pipelines.get(pipeline.pipeline_id) == pipeline


async def test_unknown_ones_are_named_and_the_others_tried(jobs: JobInfoService) -> None:
    unknown, known = uuid4(), await in_status(jobs, QUEUED)

    for verb in PipelineVerb:
        with pytest.raises(UnknownPipeline, match=str(unknown)):
            await getattr(jobs.pipelines, verb)(unknown, *ARGUMENTS.get(verb, []))
    with pytest.raises(UnknownPipeline):
        await jobs.pipelines.stop(unknown, known.pipeline_id)

    assert (await jobs.pipelines.get(known.pipeline_id)).status is ABORTED


async def test_a_held_stage_opens_when_it_is_released_and_not_before(jobs: JobInfoService) -> None:
    pipelines = jobs.pipelines
    held = await pipelines.create(Pipeline("p", stages=[Stage(), Stage(job_class="Nap", jobs=[{}], hold=True)]))
    gate = held.stages[1]

    (released,) = await pipelines.release(gate.stage_id)

    assert (gate.status, released.status) == (PENDING, QUEUED)
    (again,) = await pipelines.release(gate.stage_id)
    assert again.accepted
    await pipelines.stop(held.pipeline_id)
    with pytest.raises(NotLegal, match=f"cannot release stage {gate.stage_id}: it is ABORTED"):
        await pipelines.release(gate.stage_id)
    with pytest.raises(NotLegal, match=f"cannot seal stage {gate.stage_id}: it is ABORTED"):
        await pipelines.seal_stage(gate.stage_id)


async def test_metadata_is_merged_member_by_member_and_counted_without_loss(jobs: JobInfoService) -> None:
    created = await jobs.pipelines.create(two_stages(user_metadata={"a": 1, "b": {"c": 1}}))
    stage_id = created.stages[0].stage_id

    await jobs.pipelines.update_metadata(created.pipeline_id, {"b": {"d": 2}, "a": None, "e": [3]})
    await asyncio.gather(*(jobs.pipelines.increment_stage_metadata(stage_id, "tiles", 2) for _ in range(10)))
    await jobs.pipelines.update_stage_metadata(stage_id, {"note": "é"})

    read = await jobs.pipelines.get(created.pipeline_id)
    assert read.user_metadata == {"b": {"d": 2}, "e": [3]}
    assert read.stages[0].user_metadata == {"tiles": 20, "note": "é"}
    with pytest.raises(InvalidSubmission) as caught:
        await jobs.pipelines.increment_stage_metadata(stage_id, "note")
    assert caught.value.field == "user_metadata.note"
    for patch in ({"a": float("inf")}, {"a": "\x00"}, ["a"]):
        with pytest.raises(InvalidSubmission, match="user_metadata"):
            await jobs.pipelines.update_metadata(created.pipeline_id, patch)


async def test_a_new_priority_reaches_the_waiting_jobs_and_a_bad_one_nobody(jobs: JobInfoService) -> None:
    created = await jobs.pipelines.create(two_stages())

    await jobs.pipelines.set_priority(created.pipeline_id, "VERY_HIGH")

    assert (await jobs.pipelines.get(created.pipeline_id)).priority == 200
    assert {job.priority for job in (await jobs.find(tenant="acme")).jobs} == {200}
    for bad in ("high", 2**31):
        with pytest.raises(InvalidSubmission, match="priority"):
            await jobs.pipelines.set_priority(created.pipeline_id, bad)


async def test_restart_of_what_was_stopped_runs_it_again(jobs: JobInfoService) -> None:
    created = await jobs.pipelines.create(two_stages())
    await jobs.pipelines.stop(created.pipeline_id)

    (result,) = await jobs.pipelines.restart(created.pipeline_id)

    assert result.status is QUEUED
    again = await jobs.pipelines.get(created.pipeline_id, counted=True)
    assert [(stage.status, stage.queued, stage.pending) for stage in again.stages] == [(QUEUED, 2, 0), (PENDING, 0, 1)]


async def test_what_meets_somebody_elses_lock_is_tried_again_unless_it_is_in_the_callers_transaction(
    connection: asyncpg.Connection, database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    name = await connection.fetchval("SELECT current_database()")
    await connection.execute(f"ALTER DATABASE \"{name}\" SET lock_timeout = '50ms'")
    own = await asyncpg.connect(database_url)
    async with JobInfoService.connect(database_url) as jobs:
        created = await jobs.pipelines.create(two_stages())
        holding = connection.transaction()
        await holding.start()
        await connection.fetch("SELECT FROM jobservice.pipeline FOR UPDATE")
        pauses: list[float] = []

        async def released(seconds: float) -> None:
            pauses.append(seconds)
            await holding.rollback()

        with pytest.raises(UnavailableError, match="busy"):
            async with own.transaction():
                await jobs.pipelines.pause(created.pipeline_id, connection=own)
        monkeypatch.setattr(asyncio, "sleep", released)
        (result,) = await jobs.pipelines.pause(created.pipeline_id)

    await own.close()
    assert (result.accepted, len(pauses)) == (True, 1)
