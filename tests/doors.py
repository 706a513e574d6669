"""What the tests of the doors share: a link and a consumer, a foreign client, a proxy before the database, polling."""

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from functools import partial
from typing import Any
from uuid import uuid4

import pika
import pytest
from outages import kept_port
from yarl import URL

from jobservice.broker.backoff import Backoff
from jobservice.broker.connection import BrokerLink
from jobservice.broker.consumer import GroupConsumer, Handler
from jobservice.broker.names import BrokerNames
from jobservice.broker.settlement import Settlement
from jobservice.broker.topology import declare
from jobservice.store.session import Session


async def eventually(claim: Callable[[], Any], within: float = 20.0) -> Any:
    """The first true answer."""
    async with asyncio.timeout(within):
        while True:
            answer = claim()
            if asyncio.iscoroutine(answer):
                answer = await answer
            if answer:
                return answer
            await asyncio.sleep(0.01)


class Foreign:
    """A client that is not ours: raw messages, raw queues."""

    def __init__(self, url: str, names: BrokerNames) -> None:
        self.names = names
        self._connection = pika.BlockingConnection(pika.URLParameters(url))
        self.channel = self._connection.channel()
        self.channel.confirm_delivery()
        self._replies = self.channel.queue_declare("", exclusive=True).method.queue
        self._arrived: dict[str, Any] = {}

    def send(self, exchange: str, key: str, body: object, **properties: Any) -> str:
        """Publishes; gives the correlation id under which the answer will come."""
        correlation_id = str(uuid4())
        raw = body if isinstance(body, bytes) else json.dumps(body).encode()
        given = {"reply_to": self._replies, "correlation_id": correlation_id} | properties
        self.channel.basic_publish(exchange, key, raw, pika.BasicProperties(**given), mandatory=True)
        return correlation_id

    async def answer(self, correlation_id: str) -> Any:
        return await eventually(lambda: self.answered(correlation_id))

    def answered(self, correlation_id: str) -> Any:
        while True:
            method, properties, body = self.channel.basic_get(self._replies, auto_ack=True)
            if method is None:
                return self._arrived.get(correlation_id)
            self._arrived[properties.correlation_id] = json.loads(body)

    def rejected(self) -> list[tuple[bytes, str]]:
        """Takes what is in the rejected queue: bodies and codes."""
        found = []
        while True:
            method, properties, body = self.channel.basic_get(self.names.rejected, auto_ack=True)
            if method is None:
                return found
            found.append((body, properties.headers["jobservice-error"]))

    async def one_rejected(self) -> tuple[bytes, str]:
        (rejected,) = await eventually(self.rejected)
        return rejected

    def left(self, queue: str) -> int:
        return int(self.channel.queue_declare(queue, passive=True).method.message_count)

    def close(self) -> None:
        self._connection.close()


class DatabaseProxy:
    """Stands before PostgreSQL: can be away, and can lose a COMMIT on its way there or its answer on the way back."""

    def __init__(self, url: str) -> None:
        self._target = URL(url)
        self._server: asyncio.Server | None = None
        self._writers: set[asyncio.StreamWriter] = set()
        self._pumps: set[asyncio.Task[None]] = set()
        self._kept = kept_port()
        self._port = int(self._kept.getsockname()[1])
        self.lose: str | None = None
        """`commit`, the `answer` to it, a `statement` with a message's id or that it has `stored` one row; once."""

    @property
    def url(self) -> str:
        return str(self._target.with_host("127.0.0.1").with_port(self._port).update_query(sslmode="disable"))

    async def open(self) -> None:
        self._server = await asyncio.start_server(self._accept, "127.0.0.1", self._port)

    async def away(self) -> None:
        assert self._server is not None
        self._server.close()
        self._cut()

    async def close(self) -> None:
        await self.away()
        for pump in self._pumps:
            pump.cancel()
        await asyncio.gather(*self._pumps, return_exceptions=True)
        self._kept.close()

    def _cut(self) -> None:
        for writer in list(self._writers):
            writer.transport.abort()

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._writers.add(writer)  # before anything is waited for: it may be cut meanwhile
        there, back = await asyncio.open_connection(self._target.host, self._target.port)
        self._writers.add(back)
        for pumping in (self._up(reader, back), self._down(there, writer)):
            pump = asyncio.create_task(pumping)
            self._pumps.add(pump)
            pump.add_done_callback(self._pumps.discard)

    async def _up(self, source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
        with contextlib.suppress(ConnectionError):
            while data := await source.read(65536):
                if (self.lose == "commit" and b"COMMIT" in data) or (self.lose == "statement" and b"amqp:" in data):
                    self.lose = None
                    self._cut()
                    return
                sink.write(data)
                await sink.drain()
        sink.transport.abort()

    async def _down(self, source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
        with contextlib.suppress(ConnectionError):
            while data := await source.read(65536):
                told = {"answer": b"COMMIT\x00", "stored": b"SELECT 1\x00"}.get(self.lose or "")
                if told is not None and told in data:
                    self.lose = None
                    self._cut()
                    return
                sink.write(data)
                await sink.drain()
        sink.transport.abort()


@pytest.fixture
def names(broker_prefix: str) -> BrokerNames:
    return BrokerNames(prefix=broker_prefix)


@pytest.fixture
async def link(amqp_url: str, names: BrokerNames) -> AsyncIterator[BrokerLink]:
    async with BrokerLink(url=amqp_url, name="doors", set_up=partial(declare, names=names)) as link:
        await link.wait_connected(20)
        yield link


@pytest.fixture
def foreign(amqp_url: str, names: BrokerNames, link: BrokerLink) -> Iterator[Foreign]:
    foreign = Foreign(amqp_url, names)
    yield foreign
    foreign.close()


@pytest.fixture
async def proxy(database_url: str) -> AsyncIterator[DatabaseProxy]:
    proxy = DatabaseProxy(database_url)
    await proxy.open()
    yield proxy
    await proxy.close()


@pytest.fixture
async def session(proxy: DatabaseProxy) -> AsyncIterator[Session]:
    session = Session(url=proxy.url, name="intake")
    yield session
    await session.close()


Consume = Callable[[str, Handler], Awaitable[GroupConsumer]]


@pytest.fixture
async def consume(link: BrokerLink, names: BrokerNames) -> AsyncIterator[Consume]:
    """Starts a consumer of a queue; stops it."""
    started: list[GroupConsumer] = []

    async def consume(queue: str, handler: Handler) -> GroupConsumer:
        consumer = GroupConsumer(
            link=link,
            queue=queue,
            handler=handler,
            settlement=Settlement(link=link, names=names),
            backoff=Backoff(first=0.02, longest=0.1),
        )
        started.append(consumer)
        await consumer.start()
        return consumer

    yield consume
    for consumer in started:
        await consumer.stop()
