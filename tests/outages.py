"""Stands between a daemon and a server: can be away, can cut, and can lose one answer of PostgreSQL."""

import asyncio
import contextlib
import socket

from yarl import URL


def kept_port() -> socket.socket:
    """Holds a port of 127.0.0.1: servers of this process may come and go on it, and nobody else is given it meanwhile.

    Bound, and never listening: who connects while no server is there is refused.
    """
    holder = socket.socket()
    holder.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    holder.bind(("127.0.0.1", 0))
    return holder


class Outage:
    """A proxy before the server at `url`; `away` and `back` as often as wanted. It keeps its port meanwhile."""

    def __init__(self, url: str) -> None:
        self._target = URL(url)
        self._server: asyncio.Server | None = None
        self._pumps: set[asyncio.Task[None]] = set()
        self._lines: list[_Line] = []
        self._port = 0
        self._away = False
        self._flowing = asyncio.Event()
        self._flowing.set()
        self._loses: tuple[str, bytes] | None = None
        self.statements = 0
        """How many statements went to PostgreSQL."""
        self.answer_lost = asyncio.Event()
        """Set when `lose_answer` has come to pass."""

    @property
    def url(self) -> str:
        url = self._target.with_host("127.0.0.1").with_port(self._port)
        return str(url.update_query(sslmode="disable") if url.scheme.startswith("postgres") else url)

    @property
    def connections(self) -> int:
        """How many are open."""
        return sum(not line.ended for line in self._lines)

    @property
    def straight_url(self) -> str:
        """The server's own."""
        return str(self._target)

    async def open(self) -> None:
        self._server = await asyncio.start_server(self._accept, "127.0.0.1")
        self._port = self._server.sockets[0].getsockname()[1]

    def away(self) -> None:
        """Connections are cut, new ones as soon as they come."""
        self._away = True
        self.cut()

    def back(self) -> None:
        self._away = False

    def freeze(self) -> None:
        """Nothing comes through any more, and nobody is told."""
        self._flowing.clear()

    def thaw(self) -> None:
        self._flowing.set()

    def cut(self, application: str = "") -> None:
        """Cuts all connections, or those of the sessions named so; their statements go on in the server."""
        for line in self._lines:
            if application in line.application:
                line.cut()

    def lose_answer(self, application: str, with_bytes: bytes) -> None:
        """The next answer to a session named so that holds these bytes is lost, with its connection."""
        self._loses = (application, with_bytes)

    async def close(self) -> None:
        if self._server is not None:
            self._server.close()
        self.away()
        for pump in self._pumps:
            pump.cancel()
        await asyncio.gather(*self._pumps, return_exceptions=True)

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if self._away:
            writer.transport.abort()
            return
        there, back = await asyncio.open_connection(self._target.host, self._target.port)
        if self._away:  # by now
            writer.transport.abort()
            back.transport.abort()
            return
        line = _Line(writer, back)
        self._lines.append(line)
        for pumping in (self._up(line, reader, back), self._down(line, there, writer)):
            pump = asyncio.create_task(pumping)
            self._pumps.add(pump)
            pump.add_done_callback(self._pumps.discard)

    async def _up(self, line: "_Line", source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
        with contextlib.suppress(ConnectionError):
            while data := await source.read(65536):
                self.statements += line.hear(data)
                await self._flowing.wait()
                sink.write(data)
                await sink.drain()
        line.ended = True
        sink.close()

    async def _down(self, line: "_Line", source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
        with contextlib.suppress(ConnectionError):
            while data := await source.read(65536):
                if self._loses and self._loses[0] in line.application and self._loses[1] in data:
                    self._loses = None
                    line.cut()
                    self.answer_lost.set()
                    return
                sink.write(data)
                await sink.drain()
        sink.transport.abort()


class _Line:
    """One connection through the proxy, with the application name that it gave at its start."""

    def __init__(self, near: asyncio.StreamWriter, far: asyncio.StreamWriter) -> None:
        self.application = ""
        self.ended = False
        self._near = near
        self._far = far
        self._unread = b""

    def hear(self, data: bytes) -> int:
        """How many statements this completes: PostgreSQL's Query and Execute messages."""
        self._unread += data
        if not self.application:
            return self._hear_start()
        statements = 0
        while len(self._unread) >= 5:
            length = 1 + int.from_bytes(self._unread[1:5])
            if len(self._unread) < length:
                break
            statements += self._unread[:1] in (b"Q", b"E")
            self._unread = self._unread[length:]
        return statements

    def cut(self) -> None:
        self.ended = True
        self._near.transport.abort()
        self._far.close()

    def _hear_start(self) -> int:
        # The first message has no type; other servers' clients send none that holds this.
        if b"application_name\x00" not in self._unread:
            self._unread = self._unread[:4096]
            return 0
        length = int.from_bytes(self._unread[:4])
        self.application = self._unread.split(b"application_name\x00", 1)[1].split(b"\x00", 1)[0].decode()
        self._unread = self._unread[length:]
        return 0
