"""The socket under a connection: kept, so that a peer that hangs can be left; guarded against headers that break us.

The driver ends the whole connection on a content header that it cannot decode (a property that is not UTF-8, a date
beyond the calendar). The message would come again, and with each round its neighbours spend one of their deliveries.
Such a header is replaced by one without properties: the body then goes its way, to be accepted or rejected.
"""

import asyncio
from typing import Any, Final

import structlog
from aiormq.connection import TCPTransportFactory, TLSTransportFactory, TransportFactory
from pamqp.header import ContentHeader
from yarl import URL

log = structlog.get_logger(__name__)

_HEADER_FRAME: Final = b"\x02"
_CLASS_WEIGHT_SIZE: Final = 12
"""Bytes of a content header before its property flags."""


class Transport(TransportFactory):
    """Opens the socket for the driver and can drop it at once."""

    def __init__(self, *, secure: bool) -> None:
        self._inner = TLSTransportFactory() if secure else TCPTransportFactory()
        self._writer: asyncio.StreamWriter | None = None

    async def create(self, url: URL, **kwargs: Any) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        """Called by the driver."""
        reader, self._writer = await self._inner.create(url, **kwargs)
        return _GuardedReader.over(reader), self._writer

    def abort(self) -> None:
        """Drop the socket without a farewell."""
        if self._writer is not None:
            self._writer.transport.abort()


class _GuardedReader(asyncio.StreamReader):
    """What the driver reads from. It reads each frame in three calls: one byte (the type), six, and the rest."""

    _source: asyncio.StreamReader
    _in_header = False

    @classmethod
    def over(cls, source: asyncio.StreamReader) -> "_GuardedReader":
        guarded = cls()
        guarded._source = source
        return guarded

    def at_eof(self) -> bool:
        return self._source.at_eof()

    async def read(self, n: int = -1) -> bytes:
        return await self._source.read(n)

    async def readexactly(self, n: int) -> bytes:
        data = await self._source.readexactly(n)
        if n == 1:
            self._in_header = data == _HEADER_FRAME
        elif self._in_header and n > _CLASS_WEIGHT_SIZE:
            self._in_header = False
            return decodable(data)
        return data


def decodable(payload: bytes) -> bytes:
    """The payload of a header frame (with the frame's end); without its properties where they cannot be decoded."""
    try:
        ContentHeader().unmarshal(payload[:-1])
    except (ValueError, OverflowError, TypeError, IndexError, OSError) as error:
        log.warning("message.strip", reason=f"its properties cannot be decoded: {error}")
        # Same length: the frame's size was read before. Zero flags mean no properties; what follows is not read.
        return payload[:_CLASS_WEIGHT_SIZE] + bytes(len(payload) - _CLASS_WEIGHT_SIZE - 1) + payload[-1:]
    return payload
