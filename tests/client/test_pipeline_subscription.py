"""Subscriptions to pipelines on a real broker: as those to jobs, on an exchange and under names of their own."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import UTC, datetime
from typing import Any
from uuid import UUID, uuid4

import pytest

from jobservice import JobInfoService, JobStatus, PipelineStatus
from jobservice.broker.connection import BrokerLink
from jobservice.broker.names import BrokerNames
from jobservice.broker.pipeline_messages import pipeline_event_message
from jobservice.broker.publisher import Publisher
from jobservice.client.subscription import Subscription
from jobservice.domain.errors import ConfigurationError, InvalidSubmission
from jobservice.domain.pipeline_facts import PipelineFact, StageTold

TellPipeline = Callable[..., Awaitable[UUID]]


async def first(events: Subscription[Any]) -> Any:
    async with asyncio.timeout(20):
        return await anext(events)


@pytest.fixture
def tell_pipeline(daemon_link: BrokerLink, broker_prefix: str) -> TellPipeline:
    """Publish one change of a pipeline, or of a stage, as a daemon would; the id of what changed."""
    publisher = Publisher(link=daemon_link, exchange=BrokerNames(broker_prefix).pipelines)

    async def publish(
        status: PipelineStatus, *, tenant: str = "acme", name: str = "create-map", stage: bool = False
    ) -> UUID:
        told = StageTold(
            stage_id=uuid4(), stage_name="s", position=1, job_class=None, total=1, succeeded=0, failed=1, aborted=0,
            retried=2,
        )  # fmt: skip
        fact = PipelineFact(
            pipeline_id=uuid4(), stage=told if stage else None, tenant=tenant, name=name, status=status, sequence=2,
            previous_status=PipelineStatus.RUNNING, time=datetime.now(UTC), percent_completed=0, reason=None,
            owner=None, description=None, correlation_id=None, traceparent=None,
        )  # fmt: skip
        await publisher.publish([pipeline_event_message(fact)])
        return fact.subject

    return publish


@pytest.fixture
async def durable(amqp_jobs: JobInfoService) -> AsyncIterator[str]:
    """The name of a durable subscription, whose queues are deleted afterwards."""
    yield "maps"
    assert amqp_jobs._ways.broker is not None
    channel = await (await amqp_jobs._ways.broker.consuming()).open_channel()
    for noted in ("maps", "pipelines.maps"):
        await channel.queue_delete(amqp_jobs._ways.broker.names.noted_subscription(noted))


async def test_a_private_subscription_sees_what_matches_in_every_word_and_nothing_else(
    amqp_jobs: JobInfoService, tell_pipeline: TellPipeline
) -> None:
    wanted = amqp_jobs.pipelines.events(
        tenant="acme", name="create-map", kind="stage", statuses={PipelineStatus.FAILED}
    )
    async with wanted as events:
        await tell_pipeline(PipelineStatus.FAILED, stage=True, tenant="zeta")
        await tell_pipeline(PipelineStatus.FAILED, stage=True, name="other")
        await tell_pipeline(PipelineStatus.FAILED)
        await tell_pipeline(PipelineStatus.SUCCEEDED, stage=True)
        failed = await tell_pipeline(PipelineStatus.FAILED, stage=True)

        event = await first(events)

    assert (event.subject, event.stage_id, event.status, event.final) == (failed, failed, PipelineStatus.FAILED, True)
    assert (event.kind, event.name, event.stage_name, event.failed, event.retried) == ("stage", "create-map", "s", 1, 2)


async def test_durable_names_of_jobs_and_of_pipelines_are_two(
    amqp_jobs: JobInfoService, tell_pipeline: TellPipeline, tell: Callable[..., Awaitable[UUID]], durable: str
) -> None:
    async with amqp_jobs.events(durable=durable), amqp_jobs.pipelines.events(durable=durable):
        pass
    job = await tell(JobStatus.SUCCEEDED)
    pipeline = await tell_pipeline(PipelineStatus.SUCCEEDED)

    async with amqp_jobs.events(durable=durable) as of_jobs, amqp_jobs.pipelines.events(durable=durable) as events:
        assert (await first(of_jobs)).job_id == job
        assert (await first(events)).pipeline_id == pipeline


async def test_an_event_whose_handling_failed_is_delivered_again(
    amqp_jobs: JobInfoService, tell_pipeline: TellPipeline, durable: str
) -> None:
    async with amqp_jobs.events(durable=durable):
        pass
    with pytest.raises(RuntimeError, match="broken handler"):
        async with amqp_jobs.pipelines.events(durable=durable, single_active=True) as events:
            told = await tell_pipeline(PipelineStatus.RUNNING, stage=True)
            await first(events)
            raise RuntimeError("broken handler")

    async with amqp_jobs.pipelines.events(durable=durable, single_active=True) as events:
        assert (await first(events)).subject == told


async def test_a_durable_subscription_is_listed_with_what_waits_in_it_and_deleted_by_the_name_it_has_there(
    daemon_link: BrokerLink, tell_pipeline: TellPipeline, database_url: str, amqp_url: str, broker_prefix: str
) -> None:
    async with JobInfoService.connect(database_url, amqp_url, prefix=broker_prefix) as jobs:
        async with jobs.pipelines.events(name="create-map", kind="pipeline", durable="maps"):
            pass
        await tell_pipeline(PipelineStatus.SUCCEEDED)

        (listed,) = await jobs.subscriptions.all()
        dropped = await jobs.subscriptions.delete(listed.name)

        assert (listed.name, listed.queue) == ("pipelines.maps", f"{broker_prefix}.pipelines.maps")
        assert (listed.filter, listed.messages) == ({"name": "create-map", "kind": "pipeline"}, 1)
        assert (dropped, await jobs.subscriptions.all()) == (1, [])


async def test_what_cannot_be_asked_for_is_refused(amqp_jobs: JobInfoService, database_url: str) -> None:
    with pytest.raises(InvalidSubmission, match="kind"):
        amqp_jobs.pipelines.events(kind="job")  # type: ignore[arg-type]
    with pytest.raises(InvalidSubmission, match="name"):
        async with amqp_jobs.pipelines.events(name="a.b"):
            pass
    with pytest.raises(ConfigurationError, match="cannot name a subscription"):
        async with amqp_jobs.pipelines.events(durable="pipelines.maps"):
            pass
    async with JobInfoService.connect(database_url) as jobs:
        with pytest.raises(ConfigurationError, match="amqp_url"):
            jobs.pipelines.events()
