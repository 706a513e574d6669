"""RabbitMQ blocks publishers for real, or is killed and away for long: jobs go on, events wait and come in order."""

import asyncio
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any
from uuid import UUID

import aiormq
import pytest
from daemons import SECONDS, Books, Daemons, Recorder, Running, until
from memory_alarm import memory_alarm
from structlog.testing import capture_logs

from jobservice.servers.stack import PrivateStack

TOLD = ["TO_BE_RUN", "RUNNING", "SUCCEEDED"]
FACTS = 500
FACTS_AT_ONCE = 300
JOBS_MEANWHILE = 5_000


@pytest.fixture(scope="module")
def stack() -> Iterator[PrivateStack]:
    """An alarm is the whole broker's: these tests have one of their own."""
    with PrivateStack(postgres=False) as stack:
        yield stack


@pytest.fixture(scope="module")
def amqp_url(stack: PrivateStack) -> str:
    return stack.amqp_url


@pytest.fixture(autouse=True)
def little_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is full soon: thousands of events do what millions do."""
    monkeypatch.setattr("jobservice.events.memory.FACTS_IN_MEMORY", FACTS)
    monkeypatch.setattr("jobservice.events.batches.FACTS_AT_ONCE", FACTS_AT_ONCE)


async def says(running: Running, **wanted: Any) -> dict[str, Any]:
    """Waits until /readyz says this."""

    async def told() -> dict[str, Any] | None:
        _, facts = await running.asked()
        return facts if facts | wanted == facts else None

    return await until(told, f"/readyz says {wanted}")


async def is_blocked(running: Running, books: Books) -> UUID:
    """The broker blocks whoever publishes, and tells it then: one job's events."""
    job_id = await books.submit("NoOp")
    await says(running, broker_blocked=True)
    return job_id


async def facts_in_outbox(books: Books) -> int:
    return int(await books.value("SELECT coalesce(sum(cardinality(job_ids)), 0) FROM jobservice.outbox"))


async def test_jobs_go_on_through_a_memory_alarm_and_their_events_come_in_order_after_it(
    daemons: Daemons, stack: PrivateStack, books: Books, recorder: Recorder
) -> None:
    running = await daemons.start()
    await recorder.has(await books.submit("NoOp"), *TOLD)

    with capture_logs() as logs:
        async with memory_alarm(stack):
            with impatient(running):
                await is_blocked(running, books)
                ids = await books.submit_many([{"job_class": "NoOp"} for _ in range(400)])
                waiting = await books.submit("NoOp", queue="nobodys")
                await books.stop(waiting)
                await books.all_final()
                facts = await says(running, ok=True, broker_blocked=True, outbox_behind=True, uncommitted=0)
                await until(lambda: _publishing_failed(running, 2), "the publisher's deadline has passed, and again")
            kept, held = await facts_in_outbox(books), held_facts(running)
            unheard = [job_id for job_id in (*ids, waiting) if not recorder.of(job_id)]

    await recorder.complete(books)
    await books.all_published()
    await says(running, ok=True, broker_blocked=False, outbox_behind=False)
    assert facts["outbox_age_seconds"] > 0
    assert kept >= 3 * 400 + 1
    assert len(unheard) == 401
    assert held <= FACTS
    assert all(recorder.statuses(job_id) == TOLD for job_id in ids)
    assert recorder.statuses(waiting) == ["ABORTED"]
    reasons = {line["reason"] for line in logs if line["event"] == "loop.fail" and line["loop"] == "relay"}
    assert any("alarm" in reason for reason in reasons)


@contextmanager
def impatient(running: Running) -> Iterator[None]:
    """What its half minute does to a publisher that is blocked, moments do; a busy broker is given all its time."""
    publisher = running.daemon._parts.publishing.relay._publisher
    patience, publisher._deadline = publisher._deadline, 1.0
    yield
    publisher._deadline = patience


async def _publishing_failed(running: Running, times: int) -> bool:
    (relay,) = [loop for loop in running.daemon._parts.loops if loop.name == "relay"]
    return relay.failures >= times


def held_facts(running: Running) -> int:
    return running.daemon._parts.publishing.relay._memory.facts


async def test_a_message_sent_during_the_alarm_makes_one_job_and_holds_up_nobody(
    daemons: Daemons, stack: PrivateStack, books: Books, recorder: Recorder
) -> None:
    running = await daemons.start()
    await recorder.has(await books.submit("NoOp"), *TOLD)
    client = await aiormq.connect(stack.amqp_url)
    channel = await client.channel()
    sent = []

    async with memory_alarm(stack):
        await is_blocked(running, books)
        for n in range(3):
            properties = aiormq.spec.Basic.Properties(message_id=f"m{n}", delivery_mode=2)
            publishing = channel.basic_publish(
                b'{"job_class": "NoOp"}', exchange=f"{daemons.prefix}.submit", routing_key="acme", properties=properties
            )
            sent.append(asyncio.create_task(publishing))
        await books.is_in(await books.submit("NoOp"), "SUCCEEDED")

    await asyncio.wait_for(asyncio.gather(*sent), SECONDS)
    await until(lambda: _of_acme(books, 3), "all three are jobs")
    await books.all_final()
    await recorder.complete(books)
    await books.all_published()
    assert await books.value("SELECT count(*) FROM jobservice.job_info WHERE tenant = 'acme'") == 3
    await client.close()


async def _of_acme(books: Books, jobs: int) -> bool:
    return bool(await books.value("SELECT count(*) >= $1 FROM jobservice.job_info WHERE tenant = 'acme'", jobs))


async def test_daemons_come_and_go_during_the_alarm_and_nothing_that_they_had_to_tell_is_lost(
    daemons: Daemons, stack: PrivateStack, books: Books, recorder: Recorder, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("jobservice.daemon.daemon.LAST_EVENTS_SECONDS", 0.1)
    leaving = await daemons.start()
    await recorder.has(await books.submit("NoOp"), *TOLD)

    async with memory_alarm(stack):
        await is_blocked(leaving, books)
        ids = await books.submit_many([{"job_class": "NoOp"} for _ in range(50)])
        await books.all_final()
        ending = await leaving.leave()
        coming = await daemons.start()
        ids += await books.submit_many([{"job_class": "NoOp"} for _ in range(50)])
        await books.all_final()
        untold = await facts_in_outbox(books)

    await recorder.complete(books)
    await books.all_published()
    assert ending.value == "drained"
    assert untold >= 3 * 50
    assert all(recorder.statuses(job_id) == TOLD for job_id in ids)
    assert not coming.task.done()


class LastingRecorder(Recorder):
    """Its queue outlives the broker and itself."""

    async def open(self, url: str, prefix: str) -> None:
        self.connection = await aiormq.connect(url)
        channel = await self.connection.channel()
        await channel.basic_qos(prefetch_count=5_000)
        await channel.exchange_declare(f"{prefix}.events", exchange_type="topic", durable=True)
        await channel.queue_declare(f"{prefix}.recorder", durable=True)
        await channel.queue_bind(f"{prefix}.recorder", f"{prefix}.events", "#")
        await channel.basic_consume(f"{prefix}.recorder", self._keep, no_ack=True)


async def test_thousands_of_jobs_that_end_while_the_broker_is_dead_are_told_in_order_when_it_is_back(
    daemons: Daemons, stack: PrivateStack, books: Books, monkeypatch: pytest.MonkeyPatch
) -> None:
    recorder = LastingRecorder()
    await recorder.open(stack.amqp_url, daemons.prefix)
    running = await daemons.start(pool={"capacity": 50})
    await recorder.has(await books.submit("NoOp"), *TOLD)
    await books.all_published()

    stack.kill_rabbitmq()
    await says(running, ok=False, broker=False)
    await books.submit_many([{"job_class": "NoOp", "tenant": f"t{n % 7}"} for n in range(JOBS_MEANWHILE)])
    await books.all_final(seconds=100)
    facts = await says(running, ok=False, broker=False, outbox_behind=True, uncommitted=0)
    kept, held = await facts_in_outbox(books), held_facts(running)
    largest = await books.value("SELECT max(cardinality(job_ids)) FROM jobservice.outbox")
    published = sizes_of_batches(running, monkeypatch)
    stack.start_rabbitmq()

    await recorder.open(stack.amqp_url, daemons.prefix)
    await recorder.complete(books, seconds=100)
    await books.all_published()
    await says(running, ok=True, broker=True, outbox_behind=False)
    assert (kept, facts["database"]) == (3 * JOBS_MEANWHILE, True)
    assert held <= FACTS
    assert max(published) <= max(FACTS_AT_ONCE, largest)
    assert await books.value("SELECT count(*) FROM jobservice.job_info WHERE run = 1 AND lost_runs = 0") == (
        JOBS_MEANWHILE + 1
    )
    await recorder.close()


def sizes_of_batches(running: Running, monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """What the relay hands over at once from now on."""
    sizes: list[int] = []
    publisher = running.daemon._parts.publishing.relay._publisher
    publish = publisher.publish

    async def counted(messages: Sequence[Any]) -> None:
        sizes.append(len(messages))
        await publish(messages)

    monkeypatch.setattr(publisher, "publish", counted)
    return sizes
