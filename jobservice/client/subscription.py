"""Events as an asynchronous iterator: one subscription, durable or private, over any number of reconnects.

An event is acknowledged when the next one is asked for, or when the block is left without an exception; after an
exception a durable subscription delivers it again. A private one acknowledges many at once. It only reads: nothing here
asks the database for an event.
"""

import asyncio
import contextlib
from collections.abc import Awaitable, Callable
from types import TracebackType
from typing import Any, Generic, Self

from aiormq.abc import AbstractChannel

from jobservice.broker.backoff import Backoff
from jobservice.broker.driver import call
from jobservice.broker.host_log import host_log
from jobservice.broker.incoming import Incoming
from jobservice.broker.intake import Intake
from jobservice.broker.names import OPERATOR_KEY
from jobservice.broker.topology import declare_private, declare_subscription
from jobservice.client.acknowledging import acknowledge
from jobservice.client.broker import ClientBroker
from jobservice.client.selection import Event, Selection
from jobservice.domain.errors import BrokerUnavailable, JobServiceError, UnavailableError

_CALL_TIMEOUT = 10.0

Note = Callable[[str, dict[str, Any]], Awaitable[None]]


class Subscription(Generic[Event]):
    """Status changes that match a filter. Use it once: `async with … as events: async for event in events: …`."""

    def __init__(
        self,
        *,
        broker: ClientBroker,
        selection: Selection[Event],
        durable: str | None,
        expires: float | None,
        single_active: bool,
        prefetch: int,
        note: Note | None,
    ) -> None:
        """`note` writes a durable subscription down where operators list them."""
        self.gaps = 0
        """How often a private subscription was interrupted and may have missed events. Durable ones miss none."""
        self._broker = broker
        self._selection = selection
        self._durable = durable
        self._expires = expires
        self._single_active = single_active
        self._prefetch = prefetch
        self._note = note
        self._changed = asyncio.Event()
        self._backoff = Backoff()
        self._intake: Intake | None = None
        self._queue = ""
        self._unacknowledged: Incoming | None = None
        self._unsaid = 0

    async def __aenter__(self) -> Self:
        """Subscribe; events from now on are seen. Raises BrokerUnavailable, ConfigurationError."""
        self._intake = await self._open()
        if self._durable is not None and self._note is not None:
            try:
                await self._note(self._selection.noted + self._durable, self._selection.filter())
            except UnavailableError as error:
                # The note is for operators only; events come without it.
                host_log(__name__).warning("subscription.unnoted", subscription=self._durable, reason=str(error))
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Leave; what was not acknowledged is delivered again to whoever reads a durable subscription next."""
        if kind is None:
            await self._acknowledge()
        intake, self._intake = self._intake, None
        if intake is not None:
            await self._leave(intake)

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Event:
        """The next event that matches; the one before is acknowledged now."""
        await self._acknowledge()
        while True:
            message = await self._next_message()
            self._unacknowledged = message
            event = self._read(message)
            if event is not None and self._selection.matches(event):
                return event
            await self._acknowledge()

    async def _next_message(self) -> Incoming:
        while True:
            intake = self._intake
            if intake is None:
                raise BrokerUnavailable("this subscription is closed; open a new one")
            if intake.waiting and (intake.open or self._durable is None):
                return intake.take(1)[0]
            if not intake.open:
                await self._reopen(intake)
                continue
            self._changed.clear()
            if not intake.wants_attention(paused=False):
                await self._changed.wait()

    async def _acknowledge(self) -> None:
        message, self._unacknowledged = self._unacknowledged, None
        intake = self._intake
        if message is None or intake is None or not intake.open:
            return
        if self._durable is None:
            # Nobody is given it again: an acknowledgement only makes room for more, so one for many will do.
            self._unsaid += 1
            if self._unsaid < self._prefetch // 2:
                return
            self._unsaid = 0
        # A channel that is gone just now delivers the event again: at least once.
        with contextlib.suppress(JobServiceError):
            await acknowledge(intake.channel, message.delivery_tag, multiple=self._durable is None)

    async def _reopen(self, old: Intake) -> None:
        self._unacknowledged = None
        self._unsaid = 0
        await old.close()
        if self._durable is None:
            self.gaps += 1
        host_log(__name__).warning("subscription.interrupt", subscription=self._durable or "private", gaps=self.gaps)
        while True:
            try:
                self._intake = await self._open()
            except BrokerUnavailable as error:
                host_log(__name__).debug("subscription.wait", reason=str(error))
                await asyncio.sleep(self._backoff.next())
            else:
                self._backoff.reset()
                return

    async def _leave(self, intake: Intake) -> None:
        # A private queue lives as long as the connection, which other subscriptions share; nobody would read it.
        if self._durable is None and intake.open:
            with contextlib.suppress(JobServiceError):
                await self._delete_private(intake.channel)
        await intake.close()

    async def _delete_private(self, channel: AbstractChannel) -> None:
        queue, self._queue = self._queue, ""
        if queue:
            await call(channel.queue_delete(queue), timeout=_CALL_TIMEOUT, doing="deleting a private queue")

    async def _open(self) -> Intake:
        link = await self._broker.consuming()
        channel = await link.open_channel(timeout=_CALL_TIMEOUT)
        if self._durable is None:
            # Where only the channel was lost, the queue of before still fills.
            await self._delete_private(channel)
        await call(
            channel.basic_qos(prefetch_count=self._prefetch), timeout=_CALL_TIMEOUT, doing="setting the prefetch"
        )
        exchange, bindings = self._selection.exchange, self._selection.bindings()
        if self._durable is None:
            declaring = declare_private(channel, exchange=exchange, bindings=bindings)
        else:
            declaring = declare_subscription(
                channel,
                self._broker.names,
                self._durable,
                bindings,
                exchange=exchange,
                expires=self._expires,
                single_active=self._single_active,
            )
        self._queue = await call(declaring, timeout=_CALL_TIMEOUT, doing=f"subscribing to {exchange}")
        intake = Intake(link=link, channel=channel, queue=self._queue, changed=self._changed)
        await intake.consume()
        return intake

    def _read(self, message: Incoming) -> Event | None:
        if message.routing_key.startswith(f"{OPERATOR_KEY}."):
            return None  # of a held job class: told where pipelines are, and of no tenant
        try:
            return self._selection.read(message.body)
        except ValueError as error:
            host_log(__name__).warning("event.skip", routing_key=message.routing_key, reason=str(error))
            return None
