"""Consuming in groups: nothing lost, nothing requeued without need, refused messages kept as they were."""

import asyncio
import socket
import struct
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from typing import Any

import pika
import pytest
import structlog
from pika.adapters.blocking_connection import BlockingChannel

from jobservice.broker.backoff import Backoff
from jobservice.broker.connection import BrokerLink
from jobservice.broker.consumer import GroupConsumer, Handler
from jobservice.broker.incoming import Incoming
from jobservice.broker.names import BrokerNames
from jobservice.broker.settlement import Settlement
from jobservice.domain.errors import DatabaseUnavailable

Connect = Callable[[str], Awaitable[BrokerLink]]
Eventually = Callable[[Callable[[], object]], Awaitable[None]]
Consume = Callable[..., Awaitable[GroupConsumer]]


class Recorder:
    """A handler that acknowledges and remembers."""

    def __init__(self) -> None:
        self.groups: list[list[bytes]] = []
        self.messages: list[Incoming] = []

    @property
    def bodies(self) -> list[bytes]:
        return [body for group in self.groups for body in group]

    async def __call__(self, messages: Sequence[Incoming]) -> None:
        self.groups.append([message.body for message in messages])
        self.messages.extend(messages)
        for message in messages:
            message.ack()


@pytest.fixture
async def consume(link: BrokerLink, names: BrokerNames) -> AsyncIterator[Consume]:
    """Starts a consumer of the submissions queue; stops it."""
    started: list[GroupConsumer] = []

    async def consume(handler: Handler, on: BrokerLink | None = None, **settings: Any) -> GroupConsumer:
        consumer = GroupConsumer(
            link=on or link,
            queue=names.submissions,
            handler=handler,
            settlement=Settlement(link=link, names=names),
            backoff=Backoff(first=0.02, longest=0.1),
            **settings,
        )
        started.append(consumer)
        await consumer.start()
        return consumer

    yield consume
    for consumer in started:
        await consumer.stop()


@pytest.fixture
def send(link: BrokerLink, names: BrokerNames, foreign: BlockingChannel) -> Callable[..., None]:
    foreign.confirm_delivery()

    def send(*bodies: bytes, **properties: Any) -> None:
        for body in bodies:
            foreign.basic_publish(names.submit, "acme", body, pika.BasicProperties(**properties), mandatory=True)

    return send


def left(foreign: BlockingChannel, queue: str) -> int:
    return int(foreign.queue_declare(queue, passive=True).method.message_count)


async def test_what_is_there_comes_in_one_group_in_order(
    consume: Consume, send: Any, eventually: Eventually, foreign: BlockingChannel, names: BrokerNames
) -> None:
    send(*[b"%d" % n for n in range(50)])
    record = Recorder()

    consumer = await consume(record, group=20)
    await eventually(lambda: len(record.bodies) == 50)
    await consumer.stop()

    assert record.bodies == [b"%d" % n for n in range(50)]
    assert max(len(group) for group in record.groups) <= 20
    assert left(foreign, names.submissions) == 0


@pytest.mark.parametrize("body", [b"", b"\xff\xfe\x00", bytes(10_000_000)], ids=["empty", "not UTF-8", "10 MB"])
async def test_bodies_pass_through_as_bytes(consume: Consume, send: Any, eventually: Eventually, body: bytes) -> None:
    record = Recorder()
    await consume(record)

    send(body, message_id="m-1", correlation_id="c-1", reply_to="r", headers={"a": 1})

    await eventually(lambda: record.messages)
    [message] = record.messages
    assert message.body == body
    assert (message.message_id, message.correlation_id, message.reply_to) == ("m-1", "c-1", "r")
    assert (message.headers, message.routing_key, message.redelivered) == ({"a": 1}, "acme", False)


async def test_a_refused_message_is_kept_with_body_properties_and_reason(
    consume: Consume, send: Any, eventually: Eventually, foreign: BlockingChannel, names: BrokerNames
) -> None:
    async def refuse(messages: Sequence[Incoming]) -> None:
        for message in messages:
            message.reject("bad_json", "ä" * 2000)

    await consume(refuse)
    send(
        b"\xff not json",
        content_type="text/strange",
        message_id="m-1",
        correlation_id="c-1",
        reply_to="r",
        priority=3,
        timestamp=1_700_000_000,
        type="T",
        app_id="A",
        headers={"mine": "kept", "nested": {"n": [1, True, None]}},
    )

    await eventually(lambda: left(foreign, names.rejected) == 1)
    _, kept, body = foreign.basic_get(names.rejected, auto_ack=True)
    assert body == b"\xff not json"
    assert (kept.content_type, kept.message_id, kept.correlation_id) == ("text/strange", "m-1", "c-1")
    assert (kept.reply_to, kept.priority, kept.timestamp) == ("r", 3, 1_700_000_000)
    assert (kept.type, kept.app_id, kept.delivery_mode) == ("T", "A", 2)
    kept.headers.pop("x-delivery-count", None)  # the broker's own, of this delivery
    assert kept.headers == {
        "mine": "kept",
        "nested": {"n": [1, True, None]},
        "jobservice-error": "bad_json",
        "jobservice-reason": "ä" * 1000,
        "jobservice-source": names.submissions,
        "jobservice-routing-key": "acme",
    }
    await eventually(lambda: left(foreign, names.submissions) == 0)


async def test_a_refused_message_neither_expires_nor_goes_astray(
    consume: Consume, send: Any, eventually: Eventually, foreign: BlockingChannel, names: BrokerNames
) -> None:
    async def refuse(messages: Sequence[Incoming]) -> None:
        for message in messages:
            message.reject("bad_field", "no")

    elsewhere = foreign.queue_declare("", exclusive=True).method.queue
    await consume(refuse)
    send(b"x", expiration="60000", user_id="jobs", headers={"CC": [elsewhere]})

    await eventually(lambda: left(foreign, names.rejected) == 1)
    _, kept, _ = foreign.basic_get(names.rejected, auto_ack=True)
    assert (kept.expiration, kept.user_id) == (None, None)
    assert kept.headers["jobservice-expiration"] == "60000"
    assert kept.headers["jobservice-user-id"] == "jobs"
    assert kept.headers["jobservice-cc"] == [elsewhere]
    assert left(foreign, elsewhere) == 0


async def test_the_reply_goes_to_the_named_queue_before_the_acknowledgement(
    consume: Consume, send: Any, eventually: Eventually, foreign: BlockingChannel
) -> None:
    async def answer(messages: Sequence[Incoming]) -> None:
        for message in messages:
            message.reply(b"answer to " + message.body)
            message.ack()

    answers = foreign.queue_declare("", exclusive=True).method.queue
    await consume(answer)

    send(b"question", reply_to=answers, correlation_id="c-7")

    await eventually(lambda: left(foreign, answers) == 1)
    _, properties, body = foreign.basic_get(answers, auto_ack=True)
    assert (body, properties.correlation_id) == (b"answer to question", "c-7")
    assert properties.content_type == "application/json"


async def test_a_reply_reaches_a_client_that_uses_direct_reply_to_and_is_not_told_as_dropped(
    consume: Consume, names: BrokerNames, foreign: BlockingChannel, eventually: Eventually
) -> None:
    async def answer(messages: Sequence[Incoming]) -> None:
        for message in messages:
            message.reply(b"yes")
            message.ack()

    answers: list[bytes] = []
    foreign.basic_consume("amq.rabbitmq.reply-to", lambda *got: answers.append(got[3]), auto_ack=True)

    def answered() -> bool:
        foreign.connection.process_data_events(time_limit=0.01)
        return answers == [b"yes"]

    with structlog.testing.capture_logs() as logs:
        consumer = await consume(answer)
        properties = pika.BasicProperties(reply_to="amq.rabbitmq.reply-to", correlation_id="1")
        foreign.basic_publish(names.submit, "acme", b"?", properties)
        await eventually(answered)
        await consumer.stop()

    assert [entry for entry in logs if entry["event"] == "reply.drop"] == []


async def test_a_reply_that_nobody_can_get_is_dropped_and_holds_up_nothing(
    consume: Consume, send: Any, eventually: Eventually, foreign: BlockingChannel, names: BrokerNames
) -> None:
    async def answer(messages: Sequence[Incoming]) -> None:
        for message in messages:
            message.reply(b"answer")
            message.ack()

    answers = foreign.queue_declare("", exclusive=True).method.queue
    send(b"1", reply_to="gone-queue", message_id="m-1")
    send(b"2", reply_to=answers)
    with structlog.testing.capture_logs() as logs:
        consumer = await consume(answer)
        await eventually(lambda: left(foreign, answers) == 1)
        await consumer.stop()

    assert left(foreign, names.submissions) == 0
    assert [entry["message_id"] for entry in logs if entry["event"] == "reply.drop"] == ["m-1"]


async def test_while_a_server_is_away_the_same_messages_wait_and_are_not_requeued(
    consume: Consume, send: Any, eventually: Eventually
) -> None:
    record, calls = Recorder(), 0

    async def handler(messages: Sequence[Incoming]) -> None:
        nonlocal calls
        calls += 1
        if calls <= 3:
            raise DatabaseUnavailable("away")
        await record(messages)

    send(b"a", b"b", b"c")
    await consume(handler)

    await eventually(lambda: len(record.bodies) == 3)
    assert record.bodies == [b"a", b"b", b"c"]
    assert not any(message.redelivered for message in record.messages)


async def test_what_was_decided_before_a_server_went_away_is_not_handed_over_again(
    consume: Consume, send: Any, eventually: Eventually
) -> None:
    record = Recorder()

    async def handler(messages: Sequence[Incoming]) -> None:
        await record(messages[:1])
        if len(messages) > 1:
            raise DatabaseUnavailable("away")

    send(b"a", b"b", b"c")
    await consume(handler)

    await eventually(lambda: len(record.bodies) == 3)
    assert record.bodies == [b"a", b"b", b"c"]


async def test_a_handler_that_breaks_gets_its_messages_again(
    consume: Consume, send: Any, eventually: Eventually, foreign: BlockingChannel, names: BrokerNames
) -> None:
    record, failures = Recorder(), 0

    async def handler(messages: Sequence[Incoming]) -> None:
        nonlocal failures
        if failures < 2:
            failures += 1
            raise RuntimeError("a bug")
        await record(messages)

    send(b"a", b"b")
    with structlog.testing.capture_logs() as logs:
        consumer = await consume(handler)
        await eventually(lambda: sorted(record.bodies) == [b"a", b"b"])
        await consumer.stop()

    assert all(message.redelivered for message in record.messages)
    assert [entry["event"] for entry in logs].count("consumer.fail") == 2
    assert left(foreign, names.submissions) == 0


async def test_a_message_that_always_breaks_the_handler_ends_in_the_rejected_queue(
    consume: Consume, send: Any, eventually: Eventually, foreign: BlockingChannel, names: BrokerNames
) -> None:
    async def handler(messages: Sequence[Incoming]) -> None:
        raise RuntimeError("a bug")

    send(b"poison")
    await consume(handler)

    await eventually(lambda: left(foreign, names.rejected) == 1)
    assert left(foreign, names.submissions) == 0


async def test_an_undecided_message_is_delivered_again_and_the_decided_are_not(
    consume: Consume, send: Any, eventually: Eventually
) -> None:
    seen: list[bytes] = []

    async def handler(messages: Sequence[Incoming]) -> None:
        for message in messages:
            seen.append(message.body)
            if message.body != b"b" or message.redelivered:
                message.ack()

    send(b"a", b"b", b"c")
    await consume(handler)

    await eventually(lambda: seen.count(b"b") == 2)
    assert sorted(seen) == [b"a", b"b", b"b", b"c"]


async def test_a_paused_consumer_takes_nothing_until_it_is_resumed(
    consume: Consume, send: Any, eventually: Eventually, foreign: BlockingChannel, names: BrokerNames
) -> None:
    record = Recorder()
    consumer = await consume(record)
    send(b"before")
    await eventually(lambda: record.bodies == [b"before"])

    consumer.pause()
    await eventually(lambda: foreign.queue_declare(names.submissions, passive=True).method.consumer_count == 0)
    send(b"after")
    meanwhile = list(record.bodies)
    consumer.resume()

    await eventually(lambda: record.bodies == [b"before", b"after"])
    assert meanwhile == [b"before"]
    assert not record.messages[-1].redelivered


async def test_a_connection_that_is_cut_loses_no_message(
    consume: Consume, send: Any, eventually: Eventually, connect: Connect, proxy: Any
) -> None:
    record = Recorder()
    await consume(record, on=await connect(proxy.url))

    for n in range(30):
        send(b"%d" % n)
        if n % 10 == 5:
            proxy.cut()

    await eventually(lambda: len(set(record.bodies)) == 30)


async def test_a_rejection_waits_for_the_publishing_connection_and_is_not_lost(  # noqa: PLR0917
    connect: Connect, proxy: Any, link: BrokerLink, names: BrokerNames, send: Any, eventually: Eventually, foreign: Any
) -> None:
    calls = 0

    async def refuse(messages: Sequence[Incoming]) -> None:
        nonlocal calls
        calls += 1
        for message in messages:
            message.reject("bad_json", "no")

    publishing = await connect(proxy.url)
    await proxy.away()
    consumer = GroupConsumer(
        link=link,
        queue=names.submissions,
        handler=refuse,
        settlement=Settlement(link=publishing, names=names),
        backoff=Backoff(first=0.02, longest=0.1),
        watch=0.01,
    )
    await consumer.start()
    send(b"x")

    await eventually(lambda: calls == 1 and consumer._backoff.attempts >= 4)
    await proxy.open()

    await eventually(lambda: left(foreign, names.rejected) == 1)
    await eventually(lambda: consumer._backoff.attempts == 0)
    await consumer.stop()
    assert (calls, left(foreign, names.submissions)) == (1, 0)


async def test_the_next_group_is_handled_while_the_answers_of_the_one_before_are_under_way(
    link: BrokerLink, names: BrokerNames, send: Any, eventually: Eventually, foreign: BlockingChannel
) -> None:
    class HeldUp(Settlement):
        """Lets nothing through until it is told to."""

        let_go = asyncio.Event()

        async def settle(self, messages: Sequence[Incoming], channel: Any, *, queue: str) -> None:
            await self.let_go.wait()
            await super().settle(messages, channel, queue=queue)

    record, settlement = Recorder(), HeldUp(link=link, names=names)
    consumer = GroupConsumer(link=link, queue=names.submissions, handler=record, settlement=settlement, group=1)
    await consumer.start()

    send(b"1", b"2", b"3")
    await eventually(lambda: record.bodies == [b"1", b"2"])
    settlement.let_go.set()

    await eventually(lambda: record.bodies == [b"1", b"2", b"3"])
    await consumer.stop()
    assert left(foreign, names.submissions) == 0


async def test_answers_that_break_give_the_messages_back(
    link: BrokerLink, names: BrokerNames, send: Any, eventually: Eventually, foreign: BlockingChannel
) -> None:
    class BreaksOnce(Settlement):
        broken = False

        async def settle(self, messages: Sequence[Incoming], channel: Any, *, queue: str) -> None:
            if not self.broken:
                self.broken = True
                raise RuntimeError("a bug")
            await super().settle(messages, channel, queue=queue)

    record = Recorder()
    consumer = GroupConsumer(
        link=link,
        queue=names.submissions,
        handler=record,
        settlement=BreaksOnce(link=link, names=names),
        backoff=Backoff(first=0.02, longest=0.1),
    )
    await consumer.start()

    send(b"x")

    await eventually(lambda: record.bodies == [b"x", b"x"])
    await consumer.stop()
    assert record.messages[1].redelivered
    assert left(foreign, names.submissions) == 0


async def test_a_queue_that_is_deleted_and_made_again_is_consumed_again(  # noqa: PLR0917
    consume: Consume,
    send: Any,
    eventually: Eventually,
    foreign: BlockingChannel,
    names: BrokerNames,
    amqp_url: str,
    connect: Connect,
) -> None:
    record = Recorder()
    consumer = await consume(record)
    send(b"1")
    await eventually(lambda: record.bodies == [b"1"])

    foreign.queue_delete(names.submissions)
    await eventually(lambda: consumer._backoff.attempts >= 1)
    # By a connection of its own: RabbitMQ may end the consumer's with an INTERNAL_ERROR when its queue goes (3.10).
    await connect(amqp_url)
    send(b"2")

    await eventually(lambda: record.bodies == [b"1", b"2"])


async def test_a_queue_replaced_behind_its_consumers_back_is_found_out(  # noqa: PLR0917
    consume: Consume,
    send: Any,
    eventually: Eventually,
    foreign: BlockingChannel,
    names: BrokerNames,
    amqp_url: str,
    connect: Connect,
) -> None:
    record = Recorder()
    await consume(record, watch=0.05)
    await eventually(lambda: foreign.queue_declare(names.submissions, passive=True).method.consumer_count == 1)

    foreign.queue_delete(names.submissions)
    # By a connection of its own: RabbitMQ may end the consumer's with an INTERNAL_ERROR when its queue goes (3.10).
    await connect(amqp_url)
    send(b"1")

    await eventually(lambda: record.bodies == [b"1"])


async def test_properties_that_cannot_be_decoded_do_not_break_the_connection(  # noqa: PLR0917
    consume: Consume, send: Any, eventually: Eventually, amqp_url: str, names: BrokerNames, connect: Connect, proxy: Any
) -> None:
    record = Recorder()
    await consume(record, on=await connect(proxy.url))
    connections = proxy.accepted

    await asyncio.to_thread(publish_raw, amqp_url, names.submit, b"body", message_id=b"\xff\xfe")
    send(b"next")

    await eventually(lambda: record.bodies == [b"body", b"next"])
    assert record.messages[0].message_id is None
    assert proxy.accepted == connections


def publish_raw(url: str, exchange: str, body: bytes, *, message_id: bytes) -> None:
    """Publish with a message id that is not UTF-8, as no well-behaved client lets one."""
    connection = pika.BlockingConnection(pika.URLParameters(url))
    channel = connection.channel()
    channel.confirm_delivery()
    flags, payload = 0x0080, bytes([len(message_id)]) + message_id
    header = struct.pack(">HHQH", 60, 0, len(body), flags) + payload
    method = pika.spec.Basic.Publish(exchange=exchange, routing_key="acme")
    marshalled = pika.frame.Method(channel.channel_number, method).marshal()
    marshalled += struct.pack(">BHI", 2, channel.channel_number, len(header)) + header + b"\xce"
    marshalled += pika.frame.Body(channel.channel_number, body).marshal()
    sock: socket.socket = connection._impl._transport._sock
    sock.sendall(marshalled)
    connection.process_data_events(time_limit=0.2)
    connection.close()
