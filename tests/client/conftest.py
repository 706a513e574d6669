"""Clients, a broker with what a daemon declares, a foreign publisher of events, and who answers in a daemon's place."""

from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from datetime import UTC, datetime
from typing import Any
from uuid import UUID, uuid4

import orjson
import pytest
from databases import connect, connection, database_url, module_database_url

from jobservice import JobInfoService, JobStatus
from jobservice.broker.connection import BrokerLink
from jobservice.broker.consumer import GroupConsumer
from jobservice.broker.incoming import Incoming
from jobservice.broker.messages import event_message
from jobservice.broker.names import BrokerNames
from jobservice.broker.publisher import Publisher
from jobservice.broker.settlement import Settlement
from jobservice.broker.topology import declare
from jobservice.domain.facts import Fact, JobCard

__all__ = ["connect", "connection", "database_url", "module_database_url"]

Tell = Callable[..., Awaitable[UUID]]
Answer = Callable[[str, dict[str, Any] | list[Any]], dict[str, Any]]


@pytest.fixture
async def jobs(database_url: str) -> AsyncIterator[JobInfoService]:
    """A client that has the database only."""
    async with JobInfoService.connect(database_url) as service:
        yield service


@pytest.fixture
async def daemon_link(amqp_url: str, broker_prefix: str) -> AsyncIterator[BrokerLink]:
    """A connection as a daemon has it: the shared exchanges and queues are declared."""
    names = BrokerNames(broker_prefix)
    async with BrokerLink(url=amqp_url, name="test", set_up=lambda channel: declare(channel, names)) as link:
        await link.wait_connected(20)
        yield link


@pytest.fixture
async def amqp_jobs(daemon_link: BrokerLink, amqp_url: str, broker_prefix: str) -> AsyncIterator[JobInfoService]:
    """A client that has the broker only."""
    async with JobInfoService.connect(amqp_url=amqp_url, prefix=broker_prefix) as service:
        yield service


@pytest.fixture
def tell(daemon_link: BrokerLink, broker_prefix: str) -> Tell:
    """Publish one status change, as a daemon would."""
    publisher = Publisher(link=daemon_link, exchange=BrokerNames(broker_prefix).events)

    async def publish(
        status: JobStatus, *, job_id: UUID | None = None, tenant: str = "acme", sequence: int = 2
    ) -> UUID:
        job_id = job_id or uuid4()
        card = JobCard(job_id=job_id, tenant=tenant, queue="default", job_class="Nap")
        fact = Fact(
            job_id=job_id, sequence=sequence, run=1, attempt=1, status=status, previous_status=None, priority=0,
            time=datetime.now(UTC), percent_completed=0, daemon_id=None,
            error={"type": "ValueError", "message": "no"} if status is JobStatus.FAILED else None,
        )  # fmt: skip
        await publisher.publish([event_message(card, fact)])
        return job_id

    return publish


@pytest.fixture
async def answering(daemon_link: BrokerLink, broker_prefix: str) -> AsyncIterator[Callable[[Answer], Awaitable[None]]]:
    """Answer submissions and commands by a function of routing key and body, in the daemon's place."""
    names = BrokerNames(broker_prefix)
    consumers: list[GroupConsumer] = []

    async def begin(answer: Answer) -> None:
        async def handle(group: Sequence[Incoming]) -> None:
            for message in group:
                message.reply(orjson.dumps(answer(message.routing_key, orjson.loads(message.body))))
                message.ack()

        for queue in (names.submissions, names.control):
            settlement = Settlement(link=daemon_link, names=names)
            consumers.append(GroupConsumer(link=daemon_link, queue=queue, handler=handle, settlement=settlement))
            await consumers[-1].start()

    yield begin
    for consumer in consumers:
        await consumer.stop()
