"""A link to the session's broker, a proxy that can take it away, a foreign client to look with, and polling."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from functools import partial

import pika
import pytest
from consuming import consume, send
from outages import kept_port
from pika.adapters.blocking_connection import BlockingChannel
from yarl import URL

from jobservice.broker.backoff import Backoff
from jobservice.broker.connection import BrokerLink
from jobservice.broker.names import BrokerNames
from jobservice.broker.topology import declare

__all__ = ["consume", "send"]


class Proxy:
    """Stands between client and broker: passes on, cuts, freezes, and speaks in the broker's place."""

    def __init__(self, target: URL) -> None:
        self._target = target
        self._server: asyncio.Server | None = None
        self._pumps: set[asyncio.Task[None]] = set()
        self._clients: set[asyncio.StreamWriter] = set()
        self._flowing = asyncio.Event()
        self._flowing.set()
        self._kept = kept_port()
        self.port = int(self._kept.getsockname()[1])
        self.accepted = 0

    @property
    def url(self) -> str:
        return str(self._target.with_host("127.0.0.1").with_port(self.port))

    async def open(self) -> None:
        self._flowing.set()
        self._server = await asyncio.start_server(self._accept, "127.0.0.1", self.port)

    async def away(self) -> None:
        """As if the broker had gone: connections cut, new ones refused."""
        assert self._server is not None
        self._server.close()
        self.cut()

    def cut(self) -> None:
        for writer in list(self._clients):
            writer.transport.abort()

    def freeze(self) -> None:
        """Nothing passes any more, and nobody is told."""
        self._flowing.clear()

    def thaw(self) -> None:
        self._flowing.set()

    def say(self, frame: bytes) -> None:
        for writer in self._clients:
            writer.write(frame)

    async def close(self) -> None:
        await self.away()
        for pump in self._pumps:
            pump.cancel()
        await asyncio.gather(*self._pumps, return_exceptions=True)
        self._kept.close()

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.accepted += 1
        self._clients.add(writer)
        try:
            there, back = await asyncio.open_connection(self._target.host, self._target.port)
        except OSError:
            writer.transport.abort()
            return
        for source, sink in ((reader, back), (there, writer)):
            pump = asyncio.create_task(self._pump(source, sink))
            self._pumps.add(pump)
            pump.add_done_callback(self._pumps.discard)

    async def _pump(self, source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
        with contextlib.suppress(ConnectionError):
            while data := await source.read(65536):
                await self._flowing.wait()
                sink.write(data)
                await sink.drain()
        sink.transport.abort()
        self._clients.discard(sink)


@pytest.fixture
async def proxy(amqp_url: str) -> AsyncIterator[Proxy]:
    proxy = Proxy(URL(amqp_url))
    await proxy.open()
    yield proxy
    await proxy.close()


@pytest.fixture
def names(broker_prefix: str) -> BrokerNames:
    return BrokerNames(prefix=broker_prefix)


@pytest.fixture
async def connect(names: BrokerNames) -> AsyncIterator[Callable[[str], Awaitable[BrokerLink]]]:
    """Gives connected links with the topology declared; stops them."""
    links: list[BrokerLink] = []

    async def connect(url: str) -> BrokerLink:
        link = BrokerLink(
            url=url, name="test", set_up=partial(declare, names=names), backoff=Backoff(first=0.02, longest=0.2)
        )
        links.append(link)
        await link.start()
        await link.wait_connected(20)
        return link

    yield connect
    for link in links:
        await link.stop()


@pytest.fixture
async def link(amqp_url: str, connect: Callable[[str], Awaitable[BrokerLink]]) -> BrokerLink:
    return await connect(amqp_url)


@pytest.fixture
def foreign(amqp_url: str, names: BrokerNames) -> Iterator[BlockingChannel]:
    """A channel of a client that is not ours."""
    connection = pika.BlockingConnection(pika.URLParameters(amqp_url))
    yield connection.channel()
    connection.close()


@pytest.fixture
def eventually() -> Callable[[Callable[[], object]], Awaitable[None]]:
    async def eventually(claim: Callable[[], object], within: float = 20.0) -> None:
        async with asyncio.timeout(within):
            while not claim():
                await asyncio.sleep(0.01)

    return eventually
