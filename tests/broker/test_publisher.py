"""Publishing: in order, confirmed, and never a wait without an end."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from aiormq import spec
from consuming import Connect
from pamqp.frame import marshal
from pika.adapters.blocking_connection import BlockingChannel

from jobservice.broker.connection import BrokerLink
from jobservice.broker.frames import OutgoingMessage
from jobservice.broker.names import BrokerNames
from jobservice.broker.publisher import Publisher, PublishFailed
from jobservice.domain.errors import BrokerUnavailable

Eventually = Callable[[Callable[[], object]], Awaitable[None]]

KEY = "acme.default.NoOp.RUNNING"


def message(body: bytes, message_id: str = "m", key: str = KEY) -> OutgoingMessage:
    return OutgoingMessage(key, message_id, body)


@pytest.fixture
def queue(link: BrokerLink, names: BrokerNames, foreign: BlockingChannel) -> str:
    """A queue that gets every event; gone with the foreign client."""
    declared = foreign.queue_declare("", exclusive=True).method.queue
    foreign.queue_bind(declared, names.events, "#")
    return declared


def bodies(foreign: BlockingChannel, queue: str) -> list[bytes]:
    found = []
    while (got := foreign.basic_get(queue, auto_ack=True))[0] is not None:
        found.append(got[2])
    return found


async def test_a_batch_arrives_in_order_and_persistent(
    link: BrokerLink, names: BrokerNames, foreign: BlockingChannel, queue: str
) -> None:
    publisher = Publisher(link=link, exchange=names.events)

    await publisher.publish([message(b"%d" % n, f"id-{n}") for n in range(500)])

    method, properties, body = foreign.basic_get(queue, auto_ack=True)
    assert (method.routing_key, properties.message_id, body) == (KEY, "id-0", b"0")
    assert (properties.delivery_mode, properties.content_type) == (2, "application/json")
    assert bodies(foreign, queue) == [b"%d" % n for n in range(1, 500)]


async def test_batches_of_concurrent_callers_never_interleave(
    link: BrokerLink, names: BrokerNames, foreign: BlockingChannel, queue: str
) -> None:
    publisher = Publisher(link=link, exchange=names.events)

    await asyncio.gather(*(publisher.publish([message(b"%d" % n)] * 20) for n in range(10)))

    found = bodies(foreign, queue)
    assert sorted(found) == sorted([b"%d" % n for n in range(10)] * 20)
    assert all(len(set(found[start : start + 20])) == 1 for start in range(0, 200, 20))


@pytest.mark.parametrize("size", [0, 1, 131_063, 131_064, 131_065, 300_000, 5_000_000])
async def test_a_body_of_any_size_arrives_whole(
    link: BrokerLink, names: BrokerNames, foreign: BlockingChannel, queue: str, size: int
) -> None:
    publisher = Publisher(link=link, exchange=names.events)
    body = bytes(n % 251 for n in range(1000)) * (size // 1000) + b"x" * (size % 1000)

    await publisher.publish([message(b"before"), message(body), message(b"after")])

    assert bodies(foreign, queue) == [b"before", body, b"after"]


async def test_all_properties_arrive(
    link: BrokerLink, names: BrokerNames, foreign: BlockingChannel, queue: str
) -> None:
    publisher = Publisher(link=link, exchange=names.events)
    sent = OutgoingMessage(
        KEY, "id", b"{}", content_type="text/x", correlation_id="c-1", reply_to="there", headers={"n": 1, "ü": "ß"}
    )

    await publisher.publish([sent])

    _, properties, _ = foreign.basic_get(queue, auto_ack=True)
    assert (properties.message_id, properties.content_type, properties.delivery_mode) == ("id", "text/x", 2)
    assert (properties.correlation_id, properties.reply_to) == ("c-1", "there")
    assert properties.headers == {"n": 1, "ü": "ß"}


async def test_an_event_that_nobody_wants_is_confirmed_all_the_same(link: BrokerLink, names: BrokerNames) -> None:
    publisher = Publisher(link=link, exchange=names.events)

    await publisher.publish([message(b"unheard")] * 3)


async def test_a_nack_names_the_first_refused_and_leaves_the_publisher_usable(
    link: BrokerLink, names: BrokerNames, foreign: BlockingChannel
) -> None:
    limits: dict[str, Any] = {"x-max-length": 2, "x-overflow": "reject-publish"}
    full = foreign.queue_declare("", exclusive=True, arguments=limits).method.queue
    foreign.queue_bind(full, names.events, "#")
    publisher = Publisher(link=link, exchange=names.events)

    with pytest.raises(PublishFailed, match="nack") as failure:
        await publisher.publish([message(b"%d" % n) for n in range(20)])

    assert failure.value.first_unconfirmed == 2
    foreign.queue_delete(full)
    await publisher.publish([message(b"again")])


async def test_a_mandatory_message_that_no_queue_takes_is_told_by_its_index(
    link: BrokerLink, names: BrokerNames, foreign: BlockingChannel
) -> None:
    taker = foreign.queue_declare("", exclusive=True).method.queue
    publisher = Publisher(link=link, exchange="", mandatory=True)
    there, nowhere = message(b"1", "a", taker), message(b"2", "b", f"{names.prefix}-nowhere")

    with pytest.raises(PublishFailed, match="no queue takes") as failure:
        await publisher.publish([there, nowhere, there, nowhere])

    assert (failure.value.first_unconfirmed, failure.value.returned) == (1, (1, 3))
    assert bodies(foreign, taker) == [b"1", b"1"]


async def test_an_exchange_that_is_missing_fails_at_once_and_later_works(
    link: BrokerLink, names: BrokerNames, foreign: BlockingChannel
) -> None:
    exchange = f"{names.prefix}.later"
    publisher = Publisher(link=link, exchange=exchange)

    with pytest.raises(PublishFailed, match=exchange) as failure:
        await publisher.publish([message(b"too early")])

    assert failure.value.first_unconfirmed == 0
    foreign.exchange_declare(exchange, "topic")
    await publisher.publish([message(b"in time")])
    foreign.exchange_delete(exchange)


async def test_a_broker_that_is_away_fails_at_once_and_later_works(
    connect: Connect, proxy: Any, names: BrokerNames, foreign: BlockingChannel
) -> None:
    link = await connect(proxy.url)
    queue = foreign.queue_declare("", exclusive=True).method.queue
    foreign.queue_bind(queue, names.events, "#")
    publisher = Publisher(link=link, exchange=names.events, deadline=5)
    await publisher.publish([message(b"before")])

    await proxy.away()
    with pytest.raises(BrokerUnavailable):
        await publisher.publish([message(b"meanwhile")])

    await asyncio.wait_for(link.lost.wait(), 10)
    with pytest.raises(PublishFailed, match="no connection") as failure:
        await publisher.publish([message(b"meanwhile")])
    assert failure.value.first_unconfirmed == 0
    await proxy.open()
    await link.wait_connected(20)
    await publisher.publish([message(b"after")])
    assert bodies(foreign, queue) == [b"before", b"after"]


async def test_a_broker_that_hangs_is_left_after_the_deadline(connect: Connect, proxy: Any, names: BrokerNames) -> None:
    link = await connect(proxy.url)
    publisher = Publisher(link=link, exchange=names.events)
    await publisher.publish([message(b"before")])

    proxy.freeze()
    publisher._deadline = 0.3
    with pytest.raises(PublishFailed, match="did not confirm within") as failure:
        await publisher.publish([message(b"lost")] * 3)

    assert failure.value.first_unconfirmed == 0
    await asyncio.wait_for(link.lost.wait(), 10)
    proxy.thaw()
    await link.wait_connected(20)
    await Publisher(link=link, exchange=names.events).publish([message(b"after")])


async def test_a_connection_cut_in_the_middle_fails_the_batch_that_waits(
    connect: Connect, proxy: Any, names: BrokerNames
) -> None:
    link = await connect(proxy.url)
    publisher = Publisher(link=link, exchange=names.events)
    await publisher.publish([message(b"before")])
    proxy.freeze()

    waiting = asyncio.create_task(publisher.publish([message(b"x")] * 3))
    await asyncio.sleep(0)
    proxy.cut()

    with pytest.raises(PublishFailed, match="closed") as failure:
        await asyncio.wait_for(waiting, 10)
    assert failure.value.first_unconfirmed == 0


async def test_a_blocked_connection_is_kept_and_used_when_the_alarm_is_over(
    connect: Connect, proxy: Any, names: BrokerNames, eventually: Eventually
) -> None:
    link = await connect(proxy.url)
    publisher = Publisher(link=link, exchange=names.events, deadline=0.3)
    connections = proxy.accepted

    proxy.say(marshal(spec.Connection.Blocked(reason="low on memory"), 0))
    await eventually(lambda: link.blocked)
    with pytest.raises(PublishFailed, match="alarm"):
        await publisher.publish([message(b"too early")])

    proxy.say(marshal(spec.Connection.Unblocked(), 0))
    await eventually(lambda: not link.blocked)
    await Publisher(link=link, exchange=names.events).publish([message(b"in time")])
    assert proxy.accepted == connections


async def test_a_cancelled_publish_leaves_the_count_of_confirms_right(
    link: BrokerLink, names: BrokerNames, foreign: BlockingChannel, queue: str
) -> None:
    publisher = Publisher(link=link, exchange=names.events)
    await publisher.publish([message(b"first")])

    for _ in range(20):
        cancelled = asyncio.create_task(publisher.publish([message(b"cancelled")] * 50))
        await asyncio.sleep(0)
        cancelled.cancel()
        await asyncio.gather(cancelled, return_exceptions=True)
    await publisher.publish([message(b"last")])

    assert bodies(foreign, queue)[-1] == b"last"


async def test_a_routing_key_beyond_255_bytes_is_refused_before_anything_is_sent(
    link: BrokerLink, names: BrokerNames, foreign: BlockingChannel, queue: str
) -> None:
    publisher = Publisher(link=link, exchange=names.events)

    with pytest.raises(ValueError, match="255"):
        await publisher.publish([message(b"good"), message(b"bad", key="ü" * 128)])

    await publisher.publish([message(b"next")])
    assert bodies(foreign, queue) == [b"next"]
