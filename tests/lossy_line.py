"""A line to a server that loses answers: what the client said arrives, what the server says back does not."""

import asyncio
from contextlib import suppress
from urllib.parse import urlsplit, urlunsplit


class LossyLine:
    """Stands before a server at `url`; connections opened to `self.url` pass through it."""

    def __init__(self, url: str) -> None:
        self._target = urlsplit(url)
        self._server: asyncio.Server | None = None
        self._transports: set[asyncio.StreamWriter] = set()
        self._tasks: set[asyncio.Task[None]] = set()
        self._losing = False
        self._fatal: bytes | None = None

    @property
    def url(self) -> str:
        """Where to connect to."""
        assert self._server is not None
        port = self._server.sockets[0].getsockname()[1]
        account, at, _ = self._target.netloc.rpartition("@")
        return urlunsplit(self._target._replace(netloc=f"{account}{at}127.0.0.1:{port}"))

    async def open(self) -> None:
        self._server = await asyncio.start_server(self._accept, "127.0.0.1", 0)

    def lose_answers(self, *, to: bytes | None = None) -> None:
        """From now on, or from when the client says `to`, nothing that the server says arrives."""
        self._losing, self._fatal = to is None, to

    def cut(self) -> None:
        """Ends all connections; new ones lose nothing."""
        self._losing, self._fatal = False, None
        for writer in self._transports:
            writer.transport.abort()
        self._transports.clear()

    async def close(self) -> None:
        assert self._server is not None
        self._server.close()
        self.cut()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _accept(self, client_says: asyncio.StreamReader, client: asyncio.StreamWriter) -> None:
        server_says, server = await asyncio.open_connection(self._target.hostname, self._target.port or 5432)
        self._transports |= {client, server}
        self._tasks.add(asyncio.ensure_future(self._pass_on(client_says, server, answers=False)))
        self._tasks.add(asyncio.ensure_future(self._pass_on(server_says, client, answers=True)))

    async def _pass_on(self, source: asyncio.StreamReader, sink: asyncio.StreamWriter, *, answers: bool) -> None:
        with suppress(ConnectionError):
            while data := await source.read(65_536):
                if not answers and self._fatal is not None and self._fatal in data:
                    self._losing = True
                if not (answers and self._losing):
                    sink.write(data)
        sink.close()
