"""Deliveries that are put together by hand are those that the driver would see."""

import asyncio
import struct
from datetime import UTC, datetime
from typing import Any

import pamqp.frame
import pytest
from aiormq import spec
from pamqp.body import ContentBody
from pamqp.header import ContentHeader

from jobservice.broker import transport
from jobservice.broker.deliveries import Deliveries, Delivery
from jobservice.broker.transport import FrameReader

PLAIN: dict[str, Any] = {
    "content_type": "application/json",
    "delivery_mode": 2,
    "correlation_id": "c-7",
    "reply_to": "ü" * 100,
    "message_id": "m",
}
RICH: dict[str, Any] = {
    "headers": {"a": [1, "b"]},
    "priority": 3,
    "expiration": "60000",
    "timestamp": datetime(2026, 1, 31, tzinfo=UTC),
    "user_id": "jobs",
}


def frames(
    body: bytes = b"body", *, channel: int = 1, tag: int = 7, frame_max: int = 100, **properties: Any
) -> list[bytes]:
    """As a broker sends them."""
    deliver = spec.Basic.Deliver(
        consumer_tag="ctag", delivery_tag=tag, redelivered=True, exchange="ex", routing_key="acme"
    )
    header = ContentHeader(body_size=len(body), properties=spec.Basic.Properties(**properties))
    parts = [ContentBody(body[start : start + frame_max]) for start in range(0, len(body), frame_max)]
    return [pamqp.frame.marshal(each, channel) for each in (deliver, header, *parts)]


def raw_header(flags: int, properties: bytes, *, body_size: int) -> bytes:
    payload = struct.pack(">HHQH", 60, 0, body_size, flags) + properties
    return struct.pack(">BHI", 2, 1, len(payload)) + payload + b"\xce"


async def read(*received: bytes, deliveries: Deliveries) -> list[Any]:
    """What the driver sees of `received`, frame by frame, up to its end."""
    source = asyncio.StreamReader()
    reader = FrameReader.over(source, deliveries)
    seen: list[Any] = []

    async def drive() -> None:
        while not reader.at_eof():
            start = await reader.readexactly(1) + await reader.readexactly(6)
            size = struct.unpack(">BHI", start)[2]
            seen.append(pamqp.frame.unmarshal(start + await reader.readexactly(size + 1))[2])

    driving = asyncio.create_task(drive())
    for chunk in received:
        source.feed_data(chunk)
        await asyncio.sleep(0)  # the reader takes each for itself
    source.feed_eof()
    await asyncio.gather(driving, return_exceptions=True)
    return seen


@pytest.fixture
def taken() -> list[Delivery]:
    return []


@pytest.fixture
def deliveries(taken: list[Delivery]) -> Deliveries:
    """Channel 1 is diverted."""
    deliveries = Deliveries()
    deliveries.divert(1, taken.append)
    return deliveries


@pytest.mark.parametrize("size", [0, 1, 100, 250])
@pytest.mark.parametrize(
    "properties", [{}, PLAIN, RICH, PLAIN | RICH, {"message_id": "m"}], ids=["none", "plain", "rich", "all", "one"]
)
@pytest.mark.parametrize("chunk", [1, 13, 10_000])
async def test_a_delivery_arrives_as_it_was_sent_however_it_was_cut(
    deliveries: Deliveries, taken: list[Delivery], size: int, properties: dict[str, Any], chunk: int
) -> None:
    body = bytes(range(250))[:size]
    sent = b"".join(frames(body, **properties) * 2)

    seen = await read(*(sent[start : start + chunk] for start in range(0, len(sent), chunk)), deliveries=deliveries)

    expected = Delivery(7, True, "acme", spec.Basic.Properties(**properties), body)
    assert (seen, taken) == ([], [expected, expected])


async def test_the_driver_sees_what_is_not_a_diverted_delivery(deliveries: Deliveries, taken: list[Delivery]) -> None:
    ack = pamqp.frame.marshal(spec.Basic.Ack(delivery_tag=3), 1)

    seen = await read(*frames(b"1"), ack, *frames(b"2", channel=2), *frames(b"3"), deliveries=deliveries)

    assert [delivery.body for delivery in taken] == [b"1", b"3"]
    assert [each.name for each in seen] == ["Basic.Ack", "Basic.Deliver", "ContentHeader", "ContentBody"]


async def test_deliveries_of_several_channels_do_not_mix(deliveries: Deliveries, taken: list[Delivery]) -> None:
    other: list[Delivery] = []
    deliveries.divert(2, other.append)
    one, two = frames(b"1" * 250, channel=1), frames(b"2" * 250, channel=2)

    await read(*(frame for pair in zip(one, two, strict=True) for frame in pair), deliveries=deliveries)

    assert ([each.body for each in taken], [each.body for each in other]) == ([b"1" * 250], [b"2" * 250])


@pytest.mark.parametrize(
    ("flags", "properties"),
    [(0x0080, b"\x02\xff\xfe"), (0x8000, b""), (0x0040, b"\xff" * 8), (0x0001, b"")],
    ids=["not UTF-8", "missing", "no date", "endless flags"],
)
async def test_properties_that_cannot_be_decoded_are_left_out(
    deliveries: Deliveries, taken: list[Delivery], flags: int, properties: bytes
) -> None:
    deliver, _, body = frames(b"body")
    header = raw_header(flags, properties, body_size=4)

    seen = await read(deliver, header, body, *frames(b"next"), deliveries=deliveries)

    assert [(each.body, each.properties.message_id) for each in taken[-2:]] == [(b"body", None), (b"next", None)]
    assert seen == []


async def test_a_routing_key_that_is_not_utf8_does_not_end_the_connection(
    deliveries: Deliveries, taken: list[Delivery]
) -> None:
    sent = [frame.replace(b"acme", b"ac\xffe") for frame in frames(b"1")]

    await read(*sent, *frames(b"2"), deliveries=deliveries)

    assert [each.routing_key for each in taken] == ["ac�e", "acme"]


async def test_a_channel_that_took_over_a_number_keeps_it(deliveries: Deliveries, taken: list[Delivery]) -> None:
    newer: list[Delivery] = []
    deliveries.divert(1, newer.append)

    deliveries.release(1, taken.append)
    await read(*frames(), deliveries=deliveries)

    assert (len(taken), len(newer)) == (0, 1)


async def test_a_released_channel_is_the_drivers_again(deliveries: Deliveries, taken: list[Delivery]) -> None:
    deliveries.release(1, taken.append)

    seen = await read(*frames(), deliveries=deliveries)

    assert (taken, len(seen)) == ([], 3)


async def test_a_driver_that_sees_no_delivery_is_shown_that_the_broker_lives(
    deliveries: Deliveries, taken: list[Delivery], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(transport, "_SIGN_SECONDS", -1.0)

    seen = await read(b"".join(frames()), b"".join(frames()), deliveries=deliveries)

    assert ([type(each).__name__ for each in seen], len(taken)) == (["Heartbeat", "Heartbeat"], 2)


async def test_a_line_that_ends_in_the_middle_of_a_frame_is_an_error_to_the_driver(deliveries: Deliveries) -> None:
    source = asyncio.StreamReader()
    reader = FrameReader.over(source, deliveries)
    source.feed_data(frames()[0][:-1])
    source.feed_eof()

    with pytest.raises(asyncio.IncompleteReadError):
        await reader.readexactly(1)


async def test_a_server_of_another_protocol_is_heard_as_it_speaks(deliveries: Deliveries) -> None:
    source = asyncio.StreamReader()
    reader = FrameReader.over(source, deliveries)
    source.feed_data(b"AMQP\x00\x01\x00\x00")

    assert await reader.readexactly(1) + await reader.readexactly(6) == b"AMQP\x00\x01\x00"
