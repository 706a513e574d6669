"""Consuming in groups: in order, nothing lost, nothing requeued without need."""

import asyncio
import socket
import struct
from collections.abc import Sequence
from typing import Any

import pika
import pytest
import structlog
from consuming import Connect, Consume, Eventually, Recorder, left
from pika.adapters.blocking_connection import BlockingChannel

from jobservice.broker.incoming import Incoming
from jobservice.broker.names import BrokerNames
from jobservice.domain.errors import DatabaseUnavailable


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
