"""From AMQP frames to messages: the hot path of consuming, `frames` the other way round. Knows bytes, no connection.

The driver makes three objects of a delivery's frames, decodes their fields one by one, passes them through a queue and
starts a task: three times the processor time of everything else that is done with a message. Here a channel's
deliveries are put together by hand, before the driver sees them, and given to whoever has asked for them.
"""

import struct
from collections.abc import Callable
from typing import Final, NamedTuple

import structlog
from aiormq import spec
from pamqp.header import ContentHeader

log = structlog.get_logger(__name__)

METHOD, HEADER, BODY = 1, 2, 3
_DELIVER: Final = struct.pack(">HH", 60, 60)
_TAG: Final = struct.Struct(">Q?")
_HEADER_START: Final = struct.Struct(">HHQH")
_CLASS_WEIGHT_SIZE: Final = 12
"""Bytes of a content header before its property flags."""

_CONTENT_TYPE, _DELIVERY_MODE, _CORRELATION_ID, _REPLY_TO, _MESSAGE_ID = 0x8000, 0x1000, 0x0400, 0x0200, 0x0080
_PLAIN: Final = _CONTENT_TYPE | _DELIVERY_MODE | _CORRELATION_ID | _REPLY_TO | _MESSAGE_ID
_UNDECODABLE: Final = (ValueError, OverflowError, TypeError, IndexError, OSError, struct.error)


class Delivery(NamedTuple):
    """A message as it came."""

    delivery_tag: int
    redelivered: bool
    routing_key: str
    properties: spec.Basic.Properties
    body: bytes


Sink = Callable[[Delivery], None]


class Deliveries:
    """Of one connection: which channels' deliveries go where, and those of which not all frames have come."""

    def __init__(self) -> None:
        self._sinks: dict[int, Sink] = {}
        self._begun: dict[int, _Begun] = {}

    def divert(self, channel: int, sink: Sink) -> None:
        """From now on what is delivered on `channel` goes to `sink`."""
        self._begun.pop(channel, None)
        self._sinks[channel] = sink

    def release(self, channel: int, sink: Sink) -> None:
        """`channel` is closed. Its number may be another's by now."""
        if self._sinks.get(channel) == sink:
            del self._sinks[channel]
            self._begun.pop(channel, None)

    def take(self, kind: int, channel: int, payload: bytes) -> bool:
        """Whether this frame was part of a diverted delivery. Gives the delivery to its sink with its last frame."""
        begun = self._begun.get(channel)
        if begun is None:
            if kind != METHOD or not payload.startswith(_DELIVER) or channel not in self._sinks:
                return False
            self._begun[channel] = _Begun(payload)
            return True
        if kind == METHOD:  # nothing may come in between: the driver will say so
            del self._begun[channel]
            return False
        if begun.add(kind, payload):
            del self._begun[channel]
            self._sinks[channel](begun.delivery())
        return True


class _Begun:
    """A delivery of which frames are still to come."""

    __slots__ = ("_body", "_header", "_left", "_method")

    def __init__(self, method: bytes) -> None:
        self._method = method
        self._header = b""
        self._body: list[bytes] = []
        self._left = 0

    def add(self, kind: int, payload: bytes) -> bool:
        """Whether that was the last one."""
        if kind == HEADER:
            self._header = payload
            self._left = int.from_bytes(payload[4:_CLASS_WEIGHT_SIZE], "big")
        else:
            self._body.append(payload)
            self._left -= len(payload)
        return self._left <= 0

    def delivery(self) -> Delivery:
        """The whole."""
        method, parts = self._method, self._body
        at = 5 + method[4]  # behind the consumer's tag
        delivery_tag, redelivered = _TAG.unpack_from(method, at)
        at += 10 + method[at + 9]  # behind the exchange
        # A key that is not UTF-8 is no tenant: it is refused, like any other wrong one.
        routing_key = method[at + 1 : at + 1 + method[at]].decode(errors="replace")
        body = parts[0] if len(parts) == 1 else b"".join(parts)
        return Delivery(delivery_tag, redelivered, routing_key, properties_of(self._header), body)


def properties_of(header: bytes) -> spec.Basic.Properties:
    """Those of a content header; none where they cannot be decoded."""
    flags = _HEADER_START.unpack_from(header)[3] if len(header) >= _HEADER_START.size else 1
    try:
        if flags & ~_PLAIN:
            return _by_driver(header)
        at = _HEADER_START.size
        content_type = correlation_id = reply_to = message_id = delivery_mode = None
        if flags & _CONTENT_TYPE:
            content_type, at = _short(header, at)
        if flags & _DELIVERY_MODE:
            delivery_mode, at = header[at], at + 1
        if flags & _CORRELATION_ID:
            correlation_id, at = _short(header, at)
        if flags & _REPLY_TO:
            reply_to, at = _short(header, at)
        if flags & _MESSAGE_ID:
            message_id, at = _short(header, at)
        properties = spec.Basic.Properties(
            content_type, None, None, None, None, correlation_id, reply_to, None, message_id
        )
        properties.delivery_mode = delivery_mode  # unchecked, as the driver has it: the sender's may be any
    except _UNDECODABLE as error:
        log.warning("message.strip", reason=f"its properties cannot be decoded: {error}")
        return spec.Basic.Properties()
    return properties


def decodable(header: bytes) -> bytes:
    """A content header for the driver; without its properties where they cannot be decoded."""
    try:
        _by_driver(header)
    except _UNDECODABLE as error:
        log.warning("message.strip", reason=f"its properties cannot be decoded: {error}")
        # Same length: the frame's size was said before. Zero flags mean no properties; what follows is not read.
        return header[:_CLASS_WEIGHT_SIZE] + bytes(len(header) - _CLASS_WEIGHT_SIZE)
    return header


def _by_driver(header: bytes) -> spec.Basic.Properties:
    whole = ContentHeader()
    whole.unmarshal(header)
    return whole.properties


def _short(data: bytes, at: int) -> tuple[str, int]:
    end = at + 1 + data[at]
    return data[at + 1 : end].decode(), end
