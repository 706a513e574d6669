"""The socket under a connection: kept, so that a peer that hangs can be left; deliveries taken off it past the driver;
guarded against headers that break us.

The driver ends the whole connection on a content header that it cannot decode (a property that is not UTF-8, a date
beyond the calendar). The message would come again, and with each round its neighbours spend one of their deliveries.
Such a header is replaced by one without properties: the body then goes its way, to be accepted or rejected.
"""

import asyncio
import struct
from typing import Any, Final

from aiormq.connection import TCPTransportFactory, TLSTransportFactory, TransportFactory
from yarl import URL

from jobservice.broker.deliveries import HEADER, Deliveries, decodable

_CHUNK: Final = 262_144
_FRAME: Final = struct.Struct(">BHI")
_HEARTBEAT: Final = b"\x08\x00\x00\x00\x00\x00\x00\xce"
_END: Final = b"\xce"
_OTHER_PROTOCOL: Final = b"AMQP"
_SIGN_SECONDS: Final = 1.0
"""After so long without a frame of its own the driver is shown a heartbeat: it would take the broker for dead."""


class Transport(TransportFactory):
    """Opens the socket for the driver and can drop it at once. `deliveries` says what the driver does not see."""

    def __init__(self, *, secure: bool) -> None:
        self.deliveries = Deliveries()
        self._inner = TLSTransportFactory() if secure else TCPTransportFactory()
        self._writer: asyncio.StreamWriter | None = None

    async def create(self, url: URL, **kwargs: Any) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        """Called by the driver."""
        reader, self._writer = await self._inner.create(url, **kwargs)
        return FrameReader.over(reader, self.deliveries), self._writer

    def abort(self) -> None:
        """Drop the socket without a farewell."""
        if self._writer is not None:
            self._writer.transport.abort()


class FrameReader(asyncio.StreamReader):
    """What the driver reads from. It reads each frame in three calls: one byte (the type), six, and the rest."""

    _source: asyncio.StreamReader
    _deliveries: Deliveries
    _signed_at: float
    _raw = b""
    """What has come and was not looked at, from `_at` on."""
    _at = 0
    _given = b""
    """The frame that the driver reads, from `_given_to` on."""
    _given_to = 0
    _unseen = False

    @classmethod
    def over(cls, source: asyncio.StreamReader, deliveries: Deliveries) -> "FrameReader":
        """A reader of what comes from `source`, less what `deliveries` takes."""
        reader = cls()
        reader._source = source
        reader._deliveries = deliveries
        reader._signed_at = asyncio.get_running_loop().time()
        return reader

    def at_eof(self) -> bool:
        """Whether nothing will come any more."""
        return self._given_to == len(self._given) and self._at == len(self._raw) and self._source.at_eof()

    async def readexactly(self, n: int) -> bytes:
        """`n` bytes of the frame that is for the driver next. Raises IncompleteReadError at the end."""
        if self._given_to == len(self._given):
            self._given, self._given_to = await self._next(n), 0
        start = self._given_to
        self._given_to = min(start + n, len(self._given))
        return self._given[start : self._given_to]

    async def _next(self, wanted: int) -> bytes:
        """The next frame for the driver."""
        while True:
            while frame := self._whole():
                kind, channel, size = _FRAME.unpack_from(frame)
                payload = frame[_FRAME.size : _FRAME.size + size]
                if frame[-1:] == _END and self._deliveries.take(kind, channel, payload):
                    self._unseen = True
                    continue
                self._sign()
                return frame if kind != HEADER else frame[: _FRAME.size] + decodable(payload) + frame[-1:]
            if self._unseen and asyncio.get_running_loop().time() - self._signed_at > _SIGN_SECONDS:
                self._sign()
                return _HEARTBEAT
            chunk = await self._source.read(_CHUNK)
            if not chunk:
                raise asyncio.IncompleteReadError(self._raw[self._at :], wanted)
            self._raw, self._at = self._raw[self._at :] + chunk, 0

    def _whole(self) -> bytes:
        """The next frame; nothing as long as not all of it has come."""
        start = self._at
        if len(self._raw) - start < _FRAME.size:
            return b""
        if self._raw.startswith(_OTHER_PROTOCOL, start):
            end = len(self._raw)  # it is no frame, and the last that such a server says
        else:
            end = start + _FRAME.size + int(_FRAME.unpack_from(self._raw, start)[2]) + len(_END)
        if len(self._raw) < end:
            return b""
        self._at = end
        return self._raw[start:end]

    def _sign(self) -> None:
        """The driver sees a frame, and with it that the broker lives."""
        self._unseen = False
        self._signed_at = asyncio.get_running_loop().time()
