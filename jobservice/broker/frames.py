"""From messages to AMQP frames, many at once: the hot path of publishing. Knows bytes, no connection.

The driver's own encoder builds three objects and walks their fields for each message. Here the method frame is kept
per routing key, and the common header (content type, delivery mode, ids, where to reply) is packed by hand.
"""

import struct
from collections.abc import Iterable, Sequence
from typing import Any, Final, NamedTuple

import pamqp.frame
from aiormq import spec
from pamqp.header import ContentHeader

JSON: Final = "application/json"
CLOUD_EVENT: Final = "application/cloudevents+json"

_FRAME_END: Final = b"\xce"
_FRAME_OVERHEAD: Final = 8
_DEFAULT_FRAME_MAX: Final = 131_072
_METHODS_KEPT: Final = 10_000
_BASIC: Final = 60
_CONTENT_TYPE, _DELIVERY_MODE, _CORRELATION_ID, _REPLY_TO, _MESSAGE_ID = 0x8000, 0x1000, 0x0400, 0x0200, 0x0080
_DIRECT_REPLY: Final = "amq.rabbitmq.reply-to."
_HEADER: Final = struct.Struct(">BHIHHQH")
_BODY: Final = struct.Struct(">BHI")
_ACK: Final = struct.Struct(">BHIHHQ?B")
_ACK_SIZE: Final = 13


class OutgoingMessage(NamedTuple):
    """A message to publish. `properties`, where given, replaces everything but routing key and body."""

    routing_key: str
    message_id: str
    body: bytes
    content_type: str = JSON
    correlation_id: str | None = None
    reply_to: str | None = None
    headers: dict[str, Any] | None = None
    properties: spec.Basic.Properties | None = None


class FrameEncoder:
    """Encodes for one channel and one exchange."""

    def __init__(self, *, channel: int, frame_max: int, exchange: str, mandatory: bool, persistent: bool) -> None:
        self._channel = channel
        self._body_max = (frame_max or _DEFAULT_FRAME_MAX) - _FRAME_OVERHEAD
        self._exchange = exchange
        self._mandatory = mandatory
        self._mode = 2 if persistent else 1
        self._methods: dict[str, bytes] = {}
        self._types: dict[str, bytes] = {}

    def encode(self, messages: Sequence[OutgoingMessage]) -> bytes:
        """All frames of `messages`, in order. ValueError where a name is longer than 255 bytes."""
        channel, body_max = self._channel, self._body_max
        methods, pack_body = self._methods, _BODY.pack
        parts: list[bytes] = []
        add = parts.append
        for message in messages:
            method = methods.get(message.routing_key)
            add(method if method is not None else self._method(message.routing_key))
            add(self._header(message))
            body = message.body
            size = len(body)
            if 0 < size <= body_max:
                add(pack_body(3, channel, size))
                add(body)
                add(_FRAME_END)
            elif size:
                for start in range(0, size, body_max):
                    piece = body[start : start + body_max]
                    add(pack_body(3, channel, len(piece)))
                    add(piece)
                    add(_FRAME_END)
        return b"".join(parts)

    def _method(self, routing_key: str) -> bytes:
        if len(routing_key.encode()) > 255:
            raise ValueError("a routing key has at most 255 bytes")
        if len(self._methods) >= _METHODS_KEPT:
            self._methods.clear()
        # A direct reply's key names no queue: the broker gives a mandatory message back even when it has delivered it.
        mandatory = self._mandatory and not routing_key.startswith(_DIRECT_REPLY)
        publish = spec.Basic.Publish(exchange=self._exchange, routing_key=routing_key, mandatory=mandatory)
        frame = self._methods[routing_key] = pamqp.frame.marshal(publish, self._channel)
        return frame

    def _header(self, message: OutgoingMessage) -> bytes:
        _, message_id, body, content_type, correlation_id, reply_to, headers, properties = message
        if properties is None and headers is None:
            kind = self._types.get(content_type) or self._type(content_type)
            flags = _CONTENT_TYPE | _DELIVERY_MODE | _MESSAGE_ID
            texts = b""
            if correlation_id is not None:
                flags |= _CORRELATION_ID
                texts = _short(correlation_id)
            if reply_to is not None:
                flags |= _REPLY_TO
                texts += _short(reply_to)
            texts += _short(message_id)
            length = 14 + len(kind) + len(texts)
            start = _HEADER.pack(2, self._channel, length, _BASIC, 0, len(body), flags)
            return b"%b%b%b\xce" % (start, kind, texts)
        if properties is None:
            properties = spec.Basic.Properties(
                content_type=content_type,
                message_id=message_id,
                correlation_id=correlation_id,
                reply_to=reply_to,
                headers=headers,
                delivery_mode=self._mode,
            )
        return pamqp.frame.marshal(ContentHeader(properties=properties, body_size=len(body)), self._channel)

    def _type(self, content_type: str) -> bytes:
        kind = self._types[content_type] = _short(content_type) + bytes([self._mode])
        return kind


def ack_frames(channel: int, delivery_tags: Iterable[int], *, multiple: bool) -> bytes:
    """The frames that acknowledge these deliveries; with `multiple` each is for all before it, too."""
    return b"".join(_ACK.pack(1, channel, _ACK_SIZE, _BASIC, 80, tag, multiple, 0xCE) for tag in delivery_tags)


def _short(text: str) -> bytes:
    """A short string. ValueError where it is longer than 255 bytes."""
    data = text.encode()
    return bytes((len(data),)) + data
