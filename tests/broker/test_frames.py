"""Frames packed by hand are those of the driver's own encoder."""

import pamqp.frame
import pytest
from aiormq import spec
from pamqp.body import ContentBody
from pamqp.header import ContentHeader

from jobservice.broker.frames import CLOUD_EVENT, FrameEncoder, OutgoingMessage, ack_frames


@pytest.mark.parametrize("persistent", [True, False])
@pytest.mark.parametrize("message_id", ["", "a", "ü" * 100])
def test_a_plain_message_is_packed_as_the_driver_would(persistent: bool, message_id: str) -> None:
    encoder = FrameEncoder(channel=7, frame_max=131_072, exchange="ex", mandatory=True, persistent=persistent)

    packed = encoder.encode([OutgoingMessage("a.b.c.D", message_id, b"body", CLOUD_EVENT)])

    properties = spec.Basic.Properties(
        content_type=CLOUD_EVENT, delivery_mode=2 if persistent else 1, message_id=message_id
    )
    frames = [
        pamqp.frame.marshal(spec.Basic.Publish(exchange="ex", routing_key="a.b.c.D", mandatory=True), 7),
        pamqp.frame.marshal(ContentHeader(properties=properties, body_size=4), 7),
        pamqp.frame.marshal(ContentBody(b"body"), 7),
    ]
    if message_id:
        assert packed == b"".join(frames)
    else:
        # The driver leaves an empty id out; ours sends it empty, which a receiver reads alike.
        assert pamqp.frame.unmarshal(packed[len(frames[0]) :])[2].properties.message_id == ""


@pytest.mark.parametrize("correlation_id", [None, "c-7", "ü" * 100])
@pytest.mark.parametrize("reply_to", [None, "answers"])
def test_where_to_reply_is_packed_as_the_driver_would(correlation_id: str | None, reply_to: str | None) -> None:
    encoder = FrameEncoder(channel=7, frame_max=131_072, exchange="", mandatory=True, persistent=False)

    packed = encoder.encode([OutgoingMessage("k", "m", b"", correlation_id=correlation_id, reply_to=reply_to)])

    properties = spec.Basic.Properties(
        content_type="application/json",
        delivery_mode=1,
        correlation_id=correlation_id,
        reply_to=reply_to,
        message_id="m",
    )
    assert packed.endswith(pamqp.frame.marshal(ContentHeader(properties=properties, body_size=0), 7))


def test_only_what_goes_to_a_queue_is_given_back_when_there_is_none() -> None:
    encoder = FrameEncoder(channel=1, frame_max=4096, exchange="", mandatory=True, persistent=False)

    to_queue, direct = (
        pamqp.frame.unmarshal(encoder.encode([OutgoingMessage(key, "m", b"")]))[2]
        for key in ("answers", "amq.rabbitmq.reply-to.g1hk")
    )

    assert (to_queue.mandatory, direct.mandatory) == (True, False)


@pytest.mark.parametrize("multiple", [True, False])
def test_acknowledgements_are_packed_as_the_driver_would(multiple: bool) -> None:
    packed = ack_frames(7, [3, 2**40], multiple=multiple)

    acks = [spec.Basic.Ack(delivery_tag=tag, multiple=multiple) for tag in (3, 2**40)]
    assert packed == b"".join(pamqp.frame.marshal(ack, 7) for ack in acks)


def test_a_body_beyond_the_frame_size_is_split() -> None:
    encoder = FrameEncoder(channel=1, frame_max=4096, exchange="", mandatory=False, persistent=True)

    packed = encoder.encode([OutgoingMessage("k", "m", bytes(10_000))])

    sizes = []
    while packed:
        size, _, frame = pamqp.frame.unmarshal(packed)
        sizes.append((type(frame).__name__, size))
        packed = packed[size:]
    assert [name for name, _ in sizes] == ["Publish", "ContentHeader", "ContentBody", "ContentBody", "ContentBody"]
    assert max(size for _, size in sizes) == 4096
