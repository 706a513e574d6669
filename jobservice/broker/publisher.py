"""Publishing with confirms: a batch in one write, back when the broker has it all, and never a wait without an end.

The publisher keeps no message and repeats nothing: it says how far it came, and its caller decides.
"""

import asyncio
from collections.abc import Iterator, Sequence

import aiormq
from aiormq import spec
from aiormq.abc import ChannelFrame
from pamqp.header import ContentHeader

from jobservice.broker.confirms import Batch, Ledger
from jobservice.broker.connection import BrokerLink
from jobservice.broker.driver import call, reason
from jobservice.broker.frames import FrameEncoder, OutgoingMessage
from jobservice.domain.errors import BrokerUnavailable, JobServiceError

_WRITE_MAX = 4 * 1024 * 1024
"""Bytes on their way at once; a larger batch goes in several writes, each confirmed before the next."""


class PublishFailed(BrokerUnavailable):
    """A batch was not confirmed as a whole.

    `first_unconfirmed`: index of the first message that the broker may not have; those before it are safe, those
    after it may have arrived. `returned`: indexes of messages that no queue took (mandatory publishing only).
    """

    def __init__(self, message: str, *, first_unconfirmed: int, returned: tuple[int, ...] = ()) -> None:
        super().__init__(message)
        self.first_unconfirmed = first_unconfirmed
        self.returned = returned


class Publisher:
    """Publishes to one exchange through one channel of the link; batches never interleave."""

    def __init__(
        self,
        *,
        link: BrokerLink,
        exchange: str,
        mandatory: bool = False,
        persistent: bool = True,
        deadline: float = 30.0,
    ) -> None:
        self._link = link
        self._exchange = exchange
        self._mandatory = mandatory
        self._persistent = persistent
        self._deadline = deadline
        self._lock = asyncio.Lock()
        self._channel: _ConfirmingChannel | None = None
        self._encoder: FrameEncoder | None = None

    async def publish(self, messages: Sequence[OutgoingMessage]) -> None:
        """Publish `messages` in order; returns when all are confirmed.

        Raises PublishFailed on a refusal, a message given back, a lost channel or connection, or after the deadline.
        A later call opens what it needs anew, and fails at once while the link is down.
        """
        async with self._lock:
            until = asyncio.get_running_loop().time() + self._deadline
            done = 0
            for part in _parts(messages):
                try:
                    await self._publish_part(part, until)
                except PublishFailed as failure:
                    failure.first_unconfirmed += done
                    failure.returned = tuple(done + index for index in failure.returned)
                    raise
                done += len(part)

    async def _publish_part(self, messages: Sequence[OutgoingMessage], until: float) -> None:
        try:
            channel, encoder = await self._ready(until)
        except JobServiceError as error:
            raise PublishFailed(str(error), first_unconfirmed=0) from error
        frame = ChannelFrame(payload=encoder.encode(messages), should_close=False)
        batch = channel.ledger.open(messages, channel.create_future())
        try:
            async with asyncio.timeout_at(until):
                await channel.write_queue.put(frame)
        except BaseException as error:
            channel.ledger.withdraw(batch)
            if isinstance(error, TimeoutError):
                raise self._late(channel, batch) from None
            raise
        await asyncio.wait({batch.settled}, timeout=until - asyncio.get_running_loop().time())
        self._check(channel, batch)

    def _check(self, channel: "_ConfirmingChannel", batch: Batch) -> None:
        if not batch.settled.done():
            raise self._late(channel, batch)
        first = channel.ledger.first_open(batch)
        if first is None:
            return
        error = asyncio.CancelledError() if batch.settled.cancelled() else batch.settled.exception()
        if error is not None:
            text = f"the channel was closed before RabbitMQ confirmed: {reason(error)}"
        elif batch.refused is not None:
            text = f"RabbitMQ refused a message for exchange {self._exchange!r} (nack): a queue behind it is full"
        else:
            key = batch.messages[batch.returned[0]].routing_key
            text = f"no queue takes messages for exchange {self._exchange!r} with routing key {key!r}"
        raise PublishFailed(text, first_unconfirmed=first, returned=tuple(sorted(batch.returned)))

    def _late(self, channel: "_ConfirmingChannel", batch: Batch) -> PublishFailed:
        first = channel.ledger.first_open(batch) or 0
        if self._link.blocked:
            # The broker will read on when its alarm is over, and confirm late: a new connection would only add to it.
            text = f"RabbitMQ blocks publishers (memory or disk alarm); not confirmed within {self._deadline:g} s"
        else:
            text = f"RabbitMQ did not confirm within {self._deadline:g} s"
            self._link.renew(channel.own_connection, why=text)
        return PublishFailed(text, first_unconfirmed=first)

    async def _ready(self, until: float) -> tuple["_ConfirmingChannel", FrameEncoder]:
        connection = self._link.connection
        left = until - asyncio.get_running_loop().time()
        if self._link.blocked:
            await call(connection.ready(), timeout=left, doing="waiting for the end of a memory or disk alarm")
        channel, encoder = self._channel, self._encoder
        if channel is None or encoder is None or channel.is_closed or channel.own_connection is not connection:
            if channel is not None and channel.own_connection is connection:
                await self._link.set_up_again()  # the channel was closed alone: its exchange may be gone
            channel, encoder = await self._open(connection, left)
            self._channel, self._encoder = channel, encoder
        return channel, encoder

    async def _open(self, connection: aiormq.Connection, left: float) -> tuple["_ConfirmingChannel", FrameEncoder]:
        number = max(connection.channels, default=0) + 1
        channel = connection.channels[number] = _ConfirmingChannel(connection, number)
        try:
            await call(channel.open(), timeout=left, doing="opening a channel")
        except BrokerUnavailable as error:
            self._link.renew(connection, why=str(error))
            raise
        encoder = FrameEncoder(
            channel=number,
            frame_max=connection.connection_tune.frame_max,
            exchange=self._exchange,
            mandatory=self._mandatory,
            persistent=self._persistent,
        )
        return channel, encoder


class _ConfirmingChannel(aiormq.Channel):
    """The driver's channel with confirms counted by the batch: its own way costs a future and a callback a message."""

    def __init__(self, connection: aiormq.Connection, number: int) -> None:
        super().__init__(connection, number, publisher_confirms=True, frame_buffer=connection.FRAME_BUFFER_SIZE)
        self.own_connection = connection
        self.ledger = Ledger()

    async def _on_confirm_frame(self, frame: spec.Basic.Ack | spec.Basic.Nack | spec.Basic.Reject) -> None:
        multiple = bool(getattr(frame, "multiple", False))
        self.ledger.confirm(frame.delivery_tag or 0, multiple=multiple, positive=isinstance(frame, spec.Basic.Ack))

    async def _on_return_frame(self, frame: spec.Basic.Return) -> None:
        header = await self._get_frame()
        if isinstance(header, ContentHeader):
            await self._read_content(frame, header)
            self.ledger.give_back(frame.routing_key, header.properties.message_id)


def _parts(messages: Sequence[OutgoingMessage]) -> Iterator[Sequence[OutgoingMessage]]:
    """`messages` cut so that each part but a single large message stays within one write."""
    start = size = 0
    for index, message in enumerate(messages):
        if size + len(message.body) > _WRITE_MAX and index > start:
            yield messages[start:index]
            start, size = index, 0
        size += len(message.body)
    if start < len(messages):
        yield messages[start:]
