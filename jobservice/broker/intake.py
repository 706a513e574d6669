"""One consuming channel's life: what it delivered and nobody has taken yet, and whether the broker delivers."""

import asyncio
import contextlib
from collections import deque
from collections.abc import Sequence

from aiormq.abc import AbstractChannel, DeliveredMessage

from jobservice.broker.connection import BrokerLink
from jobservice.broker.deliveries import Delivery
from jobservice.broker.driver import call
from jobservice.broker.incoming import Incoming
from jobservice.domain.errors import JobServiceError

_CALL_TIMEOUT = 10.0


class Intake:
    """Messages of `queue` on `channel`, in order; sets `changed` whenever something happens to it."""

    def __init__(self, *, link: BrokerLink, channel: AbstractChannel, queue: str, changed: asyncio.Event) -> None:
        self.channel = channel
        self._queue = queue
        self._changed = changed
        self._buffer: deque[Incoming] = deque()
        self._tag: str | None = None
        self._withdrawn = False
        self.retired = False
        """Left by its consumer for a new one; nothing is in hand."""
        link.divert(channel, self._on_delivery)
        channel.on_consumer_cancel_callbacks.add(self._on_withdrawn)
        channel.closing.add_done_callback(lambda _: changed.set())

    @property
    def open(self) -> bool:
        """Whether the channel lives, its queue is there, and nobody has given it up."""
        return not self.channel.is_closed and not self._withdrawn and not self.retired

    @property
    def consuming(self) -> bool:
        """Whether the broker delivers."""
        return self._tag is not None

    @property
    def waiting(self) -> int:
        """How many messages were delivered and not taken."""
        return len(self._buffer)

    def wants_attention(self, *, paused: bool) -> bool:
        """Whether there is something to do at once."""
        return not self.open or (self.waiting > 0 and not paused) or self.consuming == paused

    async def consume(self, *, acknowledged: bool = True) -> None:
        """Have the broker deliver; without `acknowledged` it forgets what it has sent."""
        consuming = self.channel.basic_consume(self._queue, _not_diverted, no_ack=not acknowledged)
        answer = await call(consuming, timeout=_CALL_TIMEOUT, doing=f"consuming {self._queue}")
        self._tag = answer.consumer_tag

    async def cancel(self) -> None:
        """Have the broker deliver no more; what came stays in hand."""
        tag, self._tag = self._tag, None
        if tag is not None:
            await call(self.channel.basic_cancel(tag), timeout=_CALL_TIMEOUT, doing="cancelling a consumer")

    def take(self, most: int) -> list[Incoming]:
        """What is there, up to `most`."""
        return [self._buffer.popleft() for _ in range(min(most, len(self._buffer)))]

    def put_back(self, messages: Sequence[Incoming]) -> None:
        """To be taken again, first."""
        self._buffer.extendleft(reversed(messages))

    async def close(self) -> None:
        """Leave the channel: the broker delivers anew what is not acknowledged."""
        with contextlib.suppress(JobServiceError):
            await call(self.channel.close(), timeout=_CALL_TIMEOUT, doing="closing a channel")

    def _on_delivery(self, delivery: Delivery) -> None:
        self._buffer.append(Incoming.of(delivery))
        self._changed.set()

    def _on_withdrawn(self, _: object) -> None:
        self._withdrawn = True
        self._changed.set()


async def _not_diverted(_: DeliveredMessage) -> None:
    """What the driver would call, if it saw a delivery."""
