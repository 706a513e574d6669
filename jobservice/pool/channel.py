"""The wire between a process and those that it started (a daemon and its job processes, a supervisor and its daemons):
JSON objects with a length before each, over a socket pair.

JSON and not pickle: a process in which a user's code ran is not to be trusted with more than values.
"""

import asyncio
import socket
import struct
from typing import Any, Self

import orjson

_LENGTH = struct.Struct(">I")
_LONGEST = 1 << 30


class ChannelClosed(Exception):
    """The other side is gone."""


class Channel:
    """One end, on an event loop. Messages are dicts of JSON values."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer

    @classmethod
    async def over(cls, end: socket.socket) -> Self:
        """Takes the socket over."""
        return cls(*await asyncio.open_connection(sock=end))

    def send(self, message: dict[str, Any]) -> None:
        """Never waits and never raises: what the other side does not read any more is lost with it."""
        body = orjson.dumps(message, default=str, option=orjson.OPT_NON_STR_KEYS)
        if not self._writer.is_closing():
            self._writer.write(_LENGTH.pack(len(body)) + body)

    async def receive(self) -> dict[str, Any]:
        """The next message. Raises ChannelClosed."""
        try:
            (length,) = _LENGTH.unpack(await self._reader.readexactly(_LENGTH.size))
            if length > _LONGEST:
                raise ChannelClosed
            message: dict[str, Any] = orjson.loads(await self._reader.readexactly(length))
        except (asyncio.IncompleteReadError, OSError, orjson.JSONDecodeError) as error:
            raise ChannelClosed from error
        return message

    async def flush(self) -> None:
        """Returns when all that was sent is on its way. Raises ChannelClosed."""
        try:
            await self._writer.drain()
        except OSError as error:
            raise ChannelClosed from error

    def close(self) -> None:
        """Nothing is sent any more."""
        self._writer.close()
