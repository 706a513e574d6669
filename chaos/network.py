"""A line between a daemon and a server that can be cut, silent, slow, lose answers, or speak in the broker's place."""

import asyncio
import contextlib
from urllib.parse import urlsplit, urlunsplit

CHUNK = 65_536
_FRAME_HEADER = 7
_FRAME_END = 1


class Line:
    """A TCP proxy on a port of its own before the server at `url`. All of its faults end with `mend`."""

    def __init__(self, url: str) -> None:
        self._target = urlsplit(url)
        self._frames = self._target.scheme.startswith("amqp")
        self._server: asyncio.Server | None = None
        self._wires: set[_Wire] = set()
        self._pumps: set[asyncio.Task[None]] = set()
        self._flowing = asyncio.Event()
        self._flowing.set()
        self._away = False
        self._losing = False
        self._delay = 0.0

    @property
    def url(self) -> str:
        """The server's URL by this line."""
        assert self._server is not None
        port = self._server.sockets[0].getsockname()[1]
        account, at, _ = self._target.netloc.rpartition("@")
        query = "" if self._frames else "sslmode=disable"
        return urlunsplit(self._target._replace(netloc=f"{account}{at}127.0.0.1:{port}", query=query))

    @property
    def connections(self) -> int:
        """How many are open."""
        return len(self._wires)

    async def open(self) -> None:
        """Take a port and listen."""
        self._server = await asyncio.start_server(self._accept, "127.0.0.1", 0)

    async def close(self) -> None:
        """End all connections and listen no more."""
        if self._server is not None:
            self._server.close()
        self.cut()
        for pump in self._pumps:
            pump.cancel()
        await asyncio.gather(*self._pumps, return_exceptions=True)

    # Faults.

    def cut(self) -> None:
        """Reset all connections; new ones are taken."""
        for wire in list(self._wires):
            wire.abort()

    def go_away(self) -> None:
        """Reset all connections, and new ones as they come."""
        self._away = True
        self.cut()

    def fall_silent(self) -> None:
        """Nothing passes any more, and nobody is told."""
        self._flowing.clear()

    def become_slow(self, seconds: float) -> None:
        """Each piece of data takes so long."""
        self._delay = seconds

    def lose_answers(self) -> None:
        """What clients say arrives; what the server says does not."""
        self._losing = True

    def say(self, frame: bytes) -> None:
        """Tell all clients something between two frames of the broker."""
        for wire in self._wires:
            wire.near.write(frame)

    def mend(self) -> None:
        """As if nothing had been; connections whose answers were lost are gone."""
        if self._losing:
            self.cut()
        self._away = self._losing = False
        self._delay = 0.0
        self._flowing.set()

    # Passing on.

    async def _accept(self, reader: asyncio.StreamReader, near: asyncio.StreamWriter) -> None:
        if self._away:
            near.transport.abort()
            return
        try:
            there, far = await asyncio.open_connection(self._target.hostname, self._target.port)
        except OSError:
            near.transport.abort()
            return
        wire = _Wire(near, far)
        self._wires.add(wire)
        for source, sink, answers in ((reader, far, False), (there, near, True)):
            pump = asyncio.create_task(self._pump(wire, source, sink, answers))
            self._pumps.add(pump)
            pump.add_done_callback(self._pumps.discard)

    async def _pump(
        self, wire: "_Wire", source: asyncio.StreamReader, sink: asyncio.StreamWriter, answers: bool
    ) -> None:
        # RuntimeError: the other pump has ended this wire meanwhile.
        with contextlib.suppress(ConnectionError, RuntimeError):
            while data := await self._read(source, answers):
                if self._delay:
                    await asyncio.sleep(self._delay)
                await self._flowing.wait()
                if not (answers and self._losing):
                    sink.write(data)
                    await sink.drain()
        # What one side has ended ends for the other when the line lets it through.
        await self._flowing.wait()
        wire.abort()
        self._wires.discard(wire)

    async def _read(self, source: asyncio.StreamReader, answers: bool) -> bytes:
        """A piece; from the broker whole frames, so that `say` speaks between two of them."""
        if not (answers and self._frames):
            return await source.read(CHUNK)
        try:
            header = await source.readexactly(_FRAME_HEADER)
            return header + await source.readexactly(int.from_bytes(header[3:7]) + _FRAME_END)
        except asyncio.IncompleteReadError:
            return b""


class _Wire:
    """One connection: its end at the client and its end at the server."""

    def __init__(self, near: asyncio.StreamWriter, far: asyncio.StreamWriter) -> None:
        self.near = near
        self.far = far

    def abort(self) -> None:
        self.near.transport.abort()
        self.far.transport.abort()
