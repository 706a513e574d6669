"""What was decided of a message: refused ones are kept as they were, and replies go before acknowledgements."""

import asyncio
from collections.abc import Sequence
from typing import Any

import pika
import structlog
from consuming import Connect, Consume, Eventually, Recorder, left
from pika.adapters.blocking_connection import BlockingChannel

from jobservice.broker.backoff import Backoff
from jobservice.broker.connection import BrokerLink
from jobservice.broker.consumer import GroupConsumer
from jobservice.broker.incoming import Incoming
from jobservice.broker.names import BrokerNames
from jobservice.broker.settlement import Settlement


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
