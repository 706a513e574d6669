"""Frames packed by hand are those of the driver's own encoder."""

import pamqp.frame
import pytest
from aiormq import spec
from pamqp.body import ContentBody
from pamqp.header import ContentHeader

from jobservice.broker.frames import CLOUD_EVENT, FrameEncoder, OutgoingMessage


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
