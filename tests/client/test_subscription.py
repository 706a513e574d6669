"""Subscriptions on a real broker: what is seen, what is acknowledged, what a reconnect loses and what not."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any
from uuid import UUID

import pytest

from jobservice import JobInfoService, JobStatus
from jobservice.client.subscription import Subscription
from jobservice.domain.errors import BrokerUnavailable, ConfigurationError

Tell = Callable[..., Awaitable[UUID]]


async def first(events: Subscription[Any]) -> Any:
    async with asyncio.timeout(20):
        return await anext(events)


@pytest.fixture
async def billing(amqp_jobs: JobInfoService) -> Any:
    """A durable subscription, deleted afterwards."""
    yield lambda **given: amqp_jobs.events(durable="billing", **given)
    assert amqp_jobs._ways.broker is not None
    channel = await (await amqp_jobs._ways.broker.consuming()).open_channel()
    await channel.queue_delete(amqp_jobs._ways.broker.names.subscription("billing"))


async def cut(jobs: JobInfoService) -> None:
    """Lose the consuming connection, as a network would."""
    assert jobs._ways.broker is not None
    link = await jobs._ways.broker.consuming()
    link.renew(link.connection, why="test")
    async with asyncio.timeout(20):
        await link.lost.wait()


async def test_a_private_subscription_sees_what_matches_and_nothing_else(amqp_jobs: JobInfoService, tell: Tell) -> None:
    async with amqp_jobs.events(tenant="acme", statuses={JobStatus.FAILED}) as events:
        await tell(JobStatus.RUNNING)
        await tell(JobStatus.FAILED, tenant="zeta")
        failed = await tell(JobStatus.FAILED)

        event = await first(events)

    assert (event.job_id, event.status, event.final) == (failed, JobStatus.FAILED, True)
    assert event.error == {"type": "ValueError", "message": "no"}


async def test_every_private_subscription_gets_every_event(amqp_jobs: JobInfoService, tell: Tell) -> None:
    async with amqp_jobs.events() as one, amqp_jobs.events() as two:
        job_id = await tell(JobStatus.RUNNING)

        assert [(await first(events)).job_id for events in (one, two)] == [job_id, job_id]


@pytest.mark.parametrize("prefetch", [1, 3, 10])
async def test_a_private_subscription_reads_on_beyond_what_it_may_hold_unacknowledged(
    amqp_jobs: JobInfoService, tell: Tell, prefetch: int
) -> None:
    async with amqp_jobs.events(prefetch=prefetch) as events:
        told = [await tell(JobStatus.RUNNING) for _ in range(25)]

        assert [(await first(events)).job_id for _ in told] == told


async def test_a_durable_subscription_keeps_events_while_nobody_reads(billing: Any, tell: Tell) -> None:
    async with billing():
        pass
    job_id = await tell(JobStatus.SUCCEEDED)

    async with billing() as events:
        event = await first(events)

    assert event.job_id == job_id


async def test_an_event_is_acknowledged_when_the_block_is_left_in_peace(billing: Any, tell: Tell) -> None:
    async with billing() as events:
        await tell(JobStatus.RUNNING)
        await first(events)
    second = await tell(JobStatus.SUCCEEDED)

    async with billing() as events:
        assert (await first(events)).job_id == second


async def test_an_event_is_acknowledged_when_the_next_one_is_asked_for(billing: Any, tell: Tell) -> None:
    with pytest.raises(RuntimeError, match="on the second"):
        async with billing() as events:
            await tell(JobStatus.RUNNING)
            second = await tell(JobStatus.SUCCEEDED)
            await first(events)
            await first(events)
            raise RuntimeError("on the second")

    async with billing() as events:
        assert (await first(events)).job_id == second


async def test_an_event_whose_handling_failed_is_delivered_again(billing: Any, tell: Tell) -> None:
    with pytest.raises(RuntimeError, match="broken handler"):
        async with billing() as events:
            job_id = await tell(JobStatus.RUNNING)
            await first(events)
            raise RuntimeError("broken handler")

    async with billing() as events:
        assert (await first(events)).job_id == job_id


async def test_bindings_of_an_earlier_filter_are_filtered_out_by_the_client(billing: Any, tell: Tell) -> None:
    async with billing(tenant="zeta"):
        pass
    await tell(JobStatus.RUNNING, tenant="zeta")

    async with billing(tenant="acme") as events:
        job_id = await tell(JobStatus.RUNNING)

        assert (await first(events)).job_id == job_id


async def test_a_private_subscription_goes_on_after_a_lost_connection_and_says_so(
    amqp_jobs: JobInfoService, tell: Tell
) -> None:
    async with amqp_jobs.events() as events:
        await tell(JobStatus.TO_BE_RUN)
        await first(events)
        await cut(amqp_jobs)
        waiting = asyncio.create_task(first(events))

        async with asyncio.timeout(20):
            while not waiting.done():  # an event before the new queue is bound is missed: that is what gaps says
                job_id = await tell(JobStatus.RUNNING)
                await asyncio.wait({waiting}, timeout=0.05)

        assert events.gaps == 1
        assert (await waiting).status is JobStatus.RUNNING
        assert job_id is not None


async def test_a_durable_subscription_misses_nothing_over_a_lost_connection(
    amqp_jobs: JobInfoService, billing: Any, tell: Tell
) -> None:
    async with billing() as events:
        await cut(amqp_jobs)
        job_id = await tell(JobStatus.RUNNING)

        assert (await first(events)).job_id == job_id
        assert events.gaps == 0


async def test_a_private_queue_is_gone_when_its_block_is_left(amqp_jobs: JobInfoService) -> None:
    async with amqp_jobs.events() as events:
        queue = events._queue

    assert amqp_jobs._ways.broker is not None
    channel = await (await amqp_jobs._ways.broker.consuming()).open_channel()
    with pytest.raises(Exception, match="NOT_FOUND"):
        await channel.queue_declare(queue, passive=True)


async def test_a_message_that_is_no_event_is_passed_over(
    amqp_jobs: JobInfoService, daemon_link: Any, tell: Tell, broker_prefix: str
) -> None:
    async with amqp_jobs.events() as events:
        channel = await daemon_link.open_channel()
        await channel.basic_publish(b"hello", exchange=f"{broker_prefix}.events", routing_key="a.b.c.d")
        await channel.basic_publish(b'{"data": {}}', exchange=f"{broker_prefix}.events", routing_key="a.b.c.d")
        job_id = await tell(JobStatus.RUNNING)

        assert (await first(events)).job_id == job_id


async def test_a_subscription_needs_the_broker_and_says_which_url_is_missing(database_url: str) -> None:
    async with JobInfoService.connect(database_url) as jobs:
        with pytest.raises(ConfigurationError, match="amqp_url"):
            jobs.events()


async def test_a_broker_that_is_away_is_told_when_the_block_is_entered(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("jobservice.client.broker.CONNECT_TIMEOUT", 0.2)

    async with JobInfoService.connect(amqp_url="amqp://127.0.0.1:1/") as jobs:
        with pytest.raises(BrokerUnavailable):
            async with jobs.events():
                pass


async def test_a_single_active_subscription_hands_over_in_order_what_a_lost_reader_held(
    amqp_jobs: JobInfoService, billing: Any, tell: Tell, amqp_url: str, broker_prefix: str
) -> None:
    async with billing(single_active=True, prefetch=2) as lost:
        job_id = await tell(JobStatus.TO_BE_RUN, sequence=1)
        for sequence in (2, 3, 4):
            await tell(JobStatus.RUNNING, job_id=job_id, sequence=sequence)
        await first(lost)

        async with (
            JobInfoService.connect(amqp_url=amqp_url, prefix=broker_prefix) as other,
            other.events(durable="billing", single_active=True) as standing_by,
        ):
            await cut(amqp_jobs)

            assert [(await first(standing_by)).sequence for _ in range(4)] == [1, 2, 3, 4]


async def test_a_durable_name_keeps_being_what_it_was_first(billing: Any) -> None:
    async with billing():
        pass

    with pytest.raises(ConfigurationError, match="billing"):
        async with billing(single_active=True):
            pass
