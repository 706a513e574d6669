"""One supervised connection to RabbitMQ, made again for as long as the link runs.

Own supervision instead of a robust wrapper: every wait here has a deadline, and nothing is replayed behind the back of
who published or consumed. Parts ask the link for the live connection and build their own channels on it.
"""

import asyncio
import contextlib
import logging
from collections.abc import Awaitable, Callable
from types import TracebackType
from typing import Any, Self

import aiormq
from aiormq.abc import AbstractChannel
from yarl import URL

from jobservice.broker.backoff import Backoff
from jobservice.broker.deliveries import Sink
from jobservice.broker.driver import call, reason
from jobservice.broker.host_log import host_log
from jobservice.broker.transport import Transport
from jobservice.domain.errors import BrokerUnavailable, ConfigurationError, JobServiceError

SetUp = Callable[[AbstractChannel], Awaitable[None]]

_CLOSE_TIMEOUT = 3.0


class BrokerLink:
    """Keeps one connection: connects with back-off, tells once when it comes and goes, closes cleanly.

    `set_up` runs on a channel of each new connection before anybody else may use it (declare what is needed there);
    when it fails, the attempt has failed.
    """

    def __init__(
        self,
        *,
        url: str,
        name: str,
        set_up: SetUp | None = None,
        heartbeat: int = 10,
        attempt_timeout: float = 10.0,
        backoff: Backoff | None = None,
    ) -> None:
        self._url = amqp_url(url, heartbeat=heartbeat)
        self._log = host_log(__name__)
        self._name = name
        self._set_up = set_up
        self._attempt_timeout = attempt_timeout
        self._backoff = backoff or Backoff()
        self._connection: aiormq.Connection | None = None
        self._transport: Transport | None = None
        self._up = asyncio.Event()
        self._supervisor: asyncio.Task[None] | None = None
        self._failure: BaseException | None = None
        self._told_failure = False
        self.lost = asyncio.Event()
        """Set while there is no connection."""
        self.lost.set()

    async def start(self) -> None:
        """Begin to connect, in the background: a broker that is away is no reason not to start."""
        # The driver writes a line and a traceback per attempt; the link says the same once.
        for driver_log in ("aiormq.connection", "aiormq.channel"):
            if logging.getLogger(driver_log).level == logging.NOTSET:
                logging.getLogger(driver_log).setLevel(logging.CRITICAL)
        self._supervisor = asyncio.create_task(self._supervise(), name=f"broker-link-{self._name}")

    async def stop(self) -> None:
        """Close the connection and stay away."""
        if self._supervisor is not None:
            self._supervisor.cancel()
            await asyncio.gather(self._supervisor, return_exceptions=True)
            self._supervisor = None
        connection, transport, blocked = self._connection, self._transport, self.blocked
        self._leave()
        if connection is not None and transport is not None:
            # A broker that blocks publishers does not read a farewell either.
            with contextlib.suppress(JobServiceError):
                await call(connection.close(), timeout=0 if blocked else _CLOSE_TIMEOUT, doing="closing the connection")
            transport.abort()

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.stop()

    @property
    def connected(self) -> bool:
        """Whether there is a connection that is set up."""
        return self._connection is not None and not self._connection.is_closed

    @property
    def blocked(self) -> bool:
        """Whether the broker has stopped reading from publishers (memory or disk alarm)."""
        if self._connection is None:
            return False
        # `ready()` only waits where the connection is blocked; its first step tells, without a private name.
        probe = self._connection.ready()
        try:
            probe.send(None)
        except StopIteration:
            return False
        probe.close()
        return True

    @property
    def connection(self) -> aiormq.Connection:
        """The live connection. Raises BrokerUnavailable where there is none."""
        if self._connection is None or self._connection.is_closed:
            raise BrokerUnavailable(self._unavailable())
        return self._connection

    async def wait_connected(self, timeout: float | None = None) -> None:
        """Wait until connected. Raises BrokerUnavailable after `timeout` seconds, with the last attempt's reason."""
        try:
            async with asyncio.timeout(timeout):
                await self._up.wait()
        except TimeoutError:
            if isinstance(self._failure, ConfigurationError):
                raise self._failure from None
            raise BrokerUnavailable(self._unavailable()) from self._failure

    async def open_channel(self, *, timeout: float = 10.0) -> AbstractChannel:
        """A channel without confirms, for declaring and consuming."""
        connection = self.connection
        return await call(connection.channel(publisher_confirms=False), timeout=timeout, doing="opening a channel")

    def divert(self, channel: AbstractChannel, sink: Sink) -> None:
        """Have what is delivered on `channel` go to `sink`, past the driver's consumer, as long as it is open."""
        if channel.connection is not self._connection or self._transport is None or channel.is_closed:
            return  # of a connection that is gone: nothing will come
        deliveries = self._transport.deliveries
        deliveries.divert(channel.number, sink)
        channel.closing.add_done_callback(lambda _: deliveries.release(channel.number, sink))

    async def set_up_again(self) -> None:
        """Declare once more what this link declares: a channel was closed, perhaps since something was deleted."""
        if self._set_up is not None:
            channel = await self.open_channel()
            await call(self._declare(self._set_up, channel), timeout=self._attempt_timeout, doing="declaring")
            await call(channel.close(), timeout=_CLOSE_TIMEOUT, doing="closing a channel")

    @staticmethod
    async def _declare(set_up: SetUp, channel: AbstractChannel) -> None:
        await set_up(channel)

    def renew(self, connection: aiormq.Connection, *, why: str) -> None:
        """Give up `connection` if it is still the live one: what hangs is replaced, not waited for."""
        if connection is self._connection and self._transport is not None:
            self._log.warning("broker.renew", link=self._name, reason=why)
            self._transport.abort()

    async def _supervise(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            try:
                connection = await call(self._open(), timeout=self._attempt_timeout, doing="connecting")
            except Exception as error:  # noqa: BLE001 - the loop must outlive whatever one attempt does
                self._tell_failure(error)
                await asyncio.sleep(self._backoff.next())
                continue
            since = loop.time()
            self._enter(connection)
            closing = connection.closing
            await asyncio.wait({closing})
            self._tell_lost(closing)
            self._leave()
            if loop.time() - since > self._backoff.longest:
                self._backoff.reset()
            await asyncio.sleep(self._backoff.next())

    async def _open(self) -> aiormq.Connection:
        transport = Transport(secure=self._url.scheme == "amqps")
        try:
            connection = aiormq.Connection(
                self._url, transport_factory=transport, client_properties={"connection_name": self._name}
            )
            await connection.connect()
            if self._set_up is not None:
                channel = await connection.channel(publisher_confirms=False)
                await self._set_up(channel)
                await channel.close()
        except BaseException:
            transport.abort()
            raise
        self._transport = transport
        return connection

    def _enter(self, connection: aiormq.Connection) -> None:
        self._connection = connection
        self._failure = None
        self._told_failure = False
        self.lost.clear()
        self._up.set()
        self._log.info("broker.connect", link=self._name, broker=_address(self._url))

    def _leave(self) -> None:
        self._connection = None
        self._transport = None
        self._up.clear()
        self.lost.set()

    def _tell_failure(self, error: BaseException) -> None:
        self._failure = error
        if not self._told_failure:
            self._told_failure = True
            known = isinstance(error, JobServiceError)
            self._log.warning(
                "broker.unreachable",
                link=self._name,
                broker=_address(self._url),
                reason=str(error) if known else repr(error),
                exc_info=None if known else error,
            )

    def _tell_lost(self, closing: asyncio.Future[Any]) -> None:
        error = asyncio.CancelledError() if closing.cancelled() else closing.exception()
        self._failure = BrokerUnavailable(f"the connection was lost: {reason(error) if error else 'closed'}")
        self._log.warning("broker.lost", link=self._name, broker=_address(self._url), reason=str(self._failure))

    def _unavailable(self) -> str:
        why = f": {self._failure}" if self._failure is not None else ""
        return f"no connection to RabbitMQ at {_address(self._url)}{why}"


def amqp_url(text: str, *, heartbeat: int) -> URL:
    """`text` as an URL with a heartbeat. Raises ConfigurationError that does not repeat it: it may hold a password."""
    problem = "the AMQP URL is not valid: it must be amqp://user:password@host:port/vhost (or amqps://)"
    try:
        url = URL(text)
        valid = url.scheme in ("amqp", "amqps") and bool(url.host)
    except ValueError:
        raise ConfigurationError(problem) from None
    if not valid:
        raise ConfigurationError(problem)
    return url if "heartbeat" in url.query else url.update_query(heartbeat=str(heartbeat))


def _address(url: URL) -> str:
    return f"{url.host}:{url.port or (5671 if url.scheme == 'amqps' else 5672)}{url.path}"
