"""How fast events are published and confirmed: batches of our publisher against aio-pika's gathered publishing.

    python benchmarks/publish.py AMQP_URL [MESSAGES]

Three events a job, each with its own routing key, persistent, into one bound quorum queue. Prints messages per second
and the ratio of the two, taken in turns in one run; figures of different machines do not compare.
"""

import asyncio
import statistics
import sys
import time
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from functools import partial
from uuid import UUID, uuid4

import aio_pika
import aiormq

from jobservice.broker.connection import BrokerLink
from jobservice.broker.frames import OutgoingMessage
from jobservice.broker.messages import event_message
from jobservice.broker.publisher import Publisher
from jobservice.domain.facts import Fact, JobCard
from jobservice.domain.states import JobStatus

EXCHANGE = QUEUE = "jobservice-benchmark-publish"
STEPS = ((JobStatus.TO_BE_RUN, JobStatus.QUEUED), (JobStatus.RUNNING, JobStatus.TO_BE_RUN))
STEPS = (*STEPS, (JobStatus.SUCCEEDED, JobStatus.RUNNING))
ROUNDS = 3
PEER = "aio-pika, gathered by 1000"


def events(count: int, daemon_id: UUID) -> list[OutgoingMessage]:
    """The events of `count` / 3 jobs of 20 tenants."""
    now = datetime.now(UTC)
    made = []
    for number in range(count // 3):
        card = JobCard(job_id=uuid4(), tenant=f"t{number % 20}", queue="default", job_class="NoOp")
        for step, (status, previous) in enumerate(STEPS):
            fact = Fact(
                job_id=card.job_id,
                sequence=step + 2,
                run=1,
                attempt=1,
                status=status,
                previous_status=previous,
                time=now,
                priority=50,
                percent_completed=0,
                daemon_id=daemon_id,
            )
            made.append(event_message(card, fact, result='{"n":3}' if status.final else None))
    return made


async def rate(count: int, run: Callable[[], Awaitable[None]]) -> float:
    """Messages a second of one run."""
    begin = time.perf_counter()
    await run()
    return count / (time.perf_counter() - begin)


async def main(url: str, count: int) -> None:
    """Build, publish by batches of 300 and 3,000, publish gathered; print medians."""
    figures: dict[str, list[float]] = {}
    async with BrokerLink(url=url, name="benchmark", set_up=declare) as link:
        await link.wait_connected(10)
        publisher = Publisher(link=link, exchange=EXCHANGE)
        peer = await aio_pika.connect(url)
        exchange = await (await peer.channel(publisher_confirms=True)).get_exchange(EXCHANGE)
        for _ in range(ROUNDS):
            begin = time.perf_counter()
            messages = events(count, uuid4())
            figures.setdefault("building events", []).append(count / (time.perf_counter() - begin))
            for size in (300, 3000):
                figures.setdefault(f"publisher, batches of {size}", []).append(
                    await rate(count, partial(in_batches, publisher, messages, size))
                )
            figures.setdefault(PEER, []).append(await rate(count, partial(gathered, exchange, messages)))
            await (await link.open_channel()).queue_purge(QUEUE)
        await clean_up(link)
        await peer.close()
    base = statistics.median(figures[PEER])
    for name, values in figures.items():
        median = statistics.median(values)
        print(f"{name:30} {median:10,.0f}/s   {median / base:5.1f} x aio-pika gathered")


async def in_batches(publisher: Publisher, messages: list[OutgoingMessage], size: int) -> None:
    """Ours."""
    for start in range(0, len(messages), size):
        await publisher.publish(messages[start : start + size])


async def gathered(exchange: aio_pika.abc.AbstractExchange, messages: list[OutgoingMessage]) -> None:
    """The peer's best documented way."""
    for start in range(0, len(messages), 1000):
        part = messages[start : start + 1000]
        await asyncio.gather(*(exchange.publish(peer_message(m), m.routing_key) for m in part))


def peer_message(message: OutgoingMessage) -> aio_pika.Message:
    """The same message for the peer."""
    return aio_pika.Message(
        message.body,
        message_id=message.message_id,
        content_type=message.content_type,
        delivery_mode=aio_pika.DeliveryMode.PERSISTENT,
    )


async def declare(channel: aiormq.abc.AbstractChannel) -> None:
    """A topic exchange with one quorum queue behind it."""
    await channel.exchange_declare(EXCHANGE, exchange_type="topic", durable=True)
    await channel.queue_declare(QUEUE, durable=True, arguments={"x-queue-type": "quorum"})
    await channel.queue_bind(QUEUE, EXCHANGE, routing_key="#")


async def clean_up(link: BrokerLink) -> None:
    """Leave nothing on the broker."""
    channel = await link.open_channel()
    await channel.queue_delete(QUEUE)
    await channel.exchange_delete(EXCHANGE)


if __name__ == "__main__":
    if len(sys.argv) < 2:
        sys.exit(__doc__)
    asyncio.run(main(sys.argv[1], int(sys.argv[2]) if len(sys.argv) > 2 else 30_000))
