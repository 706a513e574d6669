"""Pipelines from outside with RabbitMQ alone: through a daemon's doors, as its client sees them."""

from collections.abc import AsyncIterator
from uuid import uuid4

import asyncpg
import pytest
from doors import Consume, consume, foreign, link, names, proxy, session

from jobservice import JobInfo, JobInfoService, Pipeline, PipelineStatus, Stage
from jobservice.broker.names import BrokerNames
from jobservice.control.door import ControlDoor
from jobservice.domain.errors import (
    ConfigurationError,
    InvalidSubmission,
    NotLegal,
    UnknownPipeline,
    UnknownStage,
)
from jobservice.domain.pipelines import PipelineVerb
from jobservice.store.session import Session
from jobservice.submission.door import SubmissionDoor

__all__ = ["consume", "foreign", "link", "names", "proxy", "session"]


@pytest.fixture
async def url(session: Session, consume: Consume, names: BrokerNames, amqp_url: str) -> str:
    """The broker, with the doors of a daemon behind it."""

    async def drain(daemon_id: object) -> None:
        raise AssertionError(f"{daemon_id} was told to drain")

    await consume(names.submissions, SubmissionDoor(session=session, schema="jobservice", max_bytes=8_388_608))
    await consume(names.control, ControlDoor(session=session, schema="jobservice", drain=drain))
    return amqp_url


@pytest.fixture
async def jobs(url: str, names: BrokerNames) -> AsyncIterator[JobInfoService]:
    async with JobInfoService.connect(amqp_url=url, prefix=names.prefix) as service:
        yield service


@pytest.fixture
async def books(database_url: str) -> AsyncIterator[JobInfoService]:
    """A client with the database, which sees what became of it."""
    async with JobInfoService.connect(database_url) as service:
        yield service


def a_pipeline(**fields: object) -> Pipeline:
    stages = [Stage("one", job_class="Nap", jobs=[{}, {"priority": 3}]), Stage(hold=True, on_failure="continue")]
    return Pipeline("p", **{"tenant": "acme", "priority": "HIGH", "data": {"n": 2**70}, "stages": stages, **fields})


async def test_what_is_told_of_a_new_pipeline_is_what_was_submitted_with_its_ids(
    jobs: JobInfoService, books: JobInfoService
) -> None:
    told = await jobs.pipelines.create(a_pipeline(status=PipelineStatus.PENDING, user_metadata={"a": [1]}))

    stored = await books.pipelines.get(told.pipeline_id)
    dates = {"created_date": stored.created_date, "updated_date": stored.updated_date}
    assert stored.idempotency_key is not None and stored.idempotency_key.startswith("amqp:")
    for name in type(stored).__dataclass_fields__.keys() - dates - {"stages", "idempotency_key"}:
        assert getattr(told, name) == getattr(stored, name), name
    for one, other in zip(told.stages, stored.stages, strict=True):
        for name in type(one).__dataclass_fields__.keys() - dates:
            assert getattr(one, name) == getattr(other, name), name


async def test_a_pipeline_is_built_step_by_step_started_and_driven_by_messages(
    jobs: JobInfoService, books: JobInfoService
) -> None:
    pipelines = jobs.pipelines
    made = await pipelines.create(Pipeline("p", tenant="acme", status=PipelineStatus.PENDING, open=True))
    stage = await pipelines.add_stage(made.pipeline_id, Stage("s", job_class="Nap", open=True, hold=True))
    again = await pipelines.add_stage(made.pipeline_id, Stage())
    ids = await pipelines.add_jobs(stage.stage_id, [{}, JobInfo("Other")])
    await pipelines.seal_stage(stage.stage_id)
    await pipelines.update_stage_metadata(stage.stage_id, {"a": 1})
    await pipelines.update_metadata(made.pipeline_id, {"b": None, "c": "é"})
    await pipelines.set_priority(made.pipeline_id, "LOW")
    (started,) = await pipelines.start(made.pipeline_id)
    (released,) = await pipelines.release(stage.stage_id)
    await pipelines.seal(made.pipeline_id)

    stored = await books.pipelines.get(made.pipeline_id, counted=True)
    assert (started.status, released.status) == (PipelineStatus.QUEUED, PipelineStatus.QUEUED)
    assert (stored.open, stored.priority, stored.user_metadata) == (False, -100, {"c": "é"})
    assert [(each.stage_id, each.position) for each in stored.stages] == [
        (each.stage_id, each.position) for each in (stage, again)
    ]
    assert (stored.stages[0].queued, stored.stages[0].user_metadata) == (2, {"a": 1})
    assert [job.id for job in (await books.pipelines.stage_jobs(stage.stage_id)).jobs] == ids
    await pipelines.pause(made.pipeline_id)
    await pipelines.resume(made.pipeline_id)
    (stopped,) = await pipelines.stop(made.pipeline_id, reason="enough")
    (restarted,) = await pipelines.restart(made.pipeline_id)
    assert (stopped.status, restarted.status) == (PipelineStatus.ABORTED, PipelineStatus.QUEUED)


async def test_refusals_are_those_of_a_client_with_a_database(
    jobs: JobInfoService, books: JobInfoService, connection: asyncpg.Connection
) -> None:
    pipelines, unknown = jobs.pipelines, uuid4()
    ended = await pipelines.create(a_pipeline(stages=[Stage(open=True)]))
    await pipelines.stop(ended.pipeline_id)
    arguments = {PipelineVerb.SET_PRIORITY: [5], PipelineVerb.UPDATE_METADATA: [{}]}

    for verb in PipelineVerb:
        with pytest.raises(UnknownPipeline, match=str(unknown)):
            await getattr(pipelines, verb)(unknown, *arguments.get(verb, []))
    for asked in (pipelines.release, pipelines.seal_stage):
        with pytest.raises(UnknownStage, match=str(unknown)):
            await asked(unknown)
    with pytest.raises(NotLegal, match=f"cannot start pipeline {ended.pipeline_id}: it is ABORTED"):
        await pipelines.start(ended.pipeline_id)
    with pytest.raises(NotLegal, match=f"cannot add a stage to pipeline {ended.pipeline_id}: it is ABORTED"):
        await pipelines.add_stage(ended.pipeline_id, Stage())
    with pytest.raises(NotLegal, match=f"cannot add jobs to stage {ended.stages[0].stage_id}: it is ABORTED"):
        await pipelines.add_jobs(ended.stages[0].stage_id, [JobInfo("Nap")])
    with pytest.raises(InvalidSubmission) as caught:
        await pipelines.create(a_pipeline(stages=[Stage(), Stage(jobs=[{"prio": 1, "job_class": "Nap"}])]))
    assert (caught.value.code, caught.value.field) == ("unknown_field", "stages[1].jobs[0].prio")
    assert await books.pipelines.count() == 1


async def test_a_client_that_signs_for_a_tenant_reaches_no_other(
    url: str, names: BrokerNames, jobs: JobInfoService, books: JobInfoService
) -> None:
    acmes = await jobs.pipelines.create(a_pipeline())

    async with JobInfoService.connect(amqp_url=url, prefix=names.prefix, tenant="other") as service:
        with pytest.raises(UnknownPipeline):
            await service.pipelines.stop(acmes.pipeline_id)
        with pytest.raises(UnknownPipeline):
            await service.pipelines.add_stage(acmes.pipeline_id, Stage())
        with pytest.raises(UnknownStage):
            await service.pipelines.add_jobs(acmes.stages[0].stage_id, [JobInfo("Nap")])
    async with JobInfoService.connect(amqp_url=url, prefix=names.prefix, tenant="acme") as service:
        added = await service.pipelines.add_jobs(acmes.stages[0].stage_id, [JobInfo("Nap")])
    async with JobInfoService.connect(amqp_url=url, prefix=names.prefix) as service:
        with pytest.raises(InvalidSubmission, match="its tenant is not known"):
            await service.pipelines.add_stage(acmes.pipeline_id, Stage())

    (first, _) = await books.pipelines.stages(acmes.pipeline_id)
    assert (len(added), first.total) == (1, 3)


async def test_what_must_be_read_or_counted_once_needs_the_database(
    jobs: JobInfoService, connection: asyncpg.Connection
) -> None:
    pipelines, some = jobs.pipelines, uuid4()

    for asked in (
        pipelines.get(some),
        pipelines.find(),
        pipelines.count(),
        pipelines.stages(some),
        pipelines.stage(some),
        pipelines.stage_jobs(some),
        pipelines.wait(some),
        pipelines.increment_stage_metadata(some, "n"),
        pipelines.create(a_pipeline(), connection=connection),
        pipelines.start(some, connection=connection),
    ):
        with pytest.raises(ConfigurationError, match="database_url"):
            await asked
