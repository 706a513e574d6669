"""A daemon's two doors for messages: submissions and commands, with their consuming connection and their gate."""

from collections.abc import Awaitable, Callable
from typing import Any
from uuid import UUID

from jobservice.broker.connection import BrokerLink
from jobservice.broker.consumer import GroupConsumer, Handler
from jobservice.broker.gathering import Gathering
from jobservice.broker.names import BrokerNames
from jobservice.broker.queue_size import queue_size
from jobservice.broker.settlement import Settlement
from jobservice.control.door import ControlDoor
from jobservice.domain.errors import BrokerUnavailable
from jobservice.loop import Loop
from jobservice.store.session import Session
from jobservice.submission.door import SubmissionDoor
from jobservice.submission.gate import Gate

GATE_INTERVAL = 10.0
GROUP = 100
PREFETCH = 150


class Doors:
    """Built and started by the daemon, after its sessions and links; stopped first in a drain."""

    def __init__(
        self,
        *,
        amqp_url: str,
        daemon_id: UUID,
        names: BrokerNames,
        publishing: BrokerLink,
        declare: Callable[[Any], Awaitable[None]],
        session: Session,
        schema: str,
        max_bytes: int,
        drain: Callable[[UUID | None], Awaitable[None]],
    ) -> None:
        # Two connections: the broker blocks publishers, and a blocked connection could not acknowledge either.
        self._names = names
        self._link = BrokerLink(url=amqp_url, name=f"jobservice doors {daemon_id}", set_up=declare)
        settlement = Settlement(link=publishing, names=names)
        doors: dict[str, Handler] = {
            names.submissions: SubmissionDoor(session=session, schema=schema, max_bytes=max_bytes),
            names.control: ControlDoor(session=session, schema=schema, drain=drain),
        }
        self._consumers = [
            GroupConsumer(
                link=self._link,
                queue=queue,
                handler=door,
                settlement=settlement,
                group=GROUP,
                prefetch=PREFETCH,
                gathering=Gathering() if queue == names.submissions else None,
            )
            for queue, door in doors.items()
        ]
        gate = Gate(session=session, schema=schema, consumers=self._consumers)
        self._gate_loop = Loop(name="gate", run_once=gate.run_once, interval=GATE_INTERVAL)

    async def start(self) -> None:
        """Begin to consume as soon as broker, database and schema are there."""
        await self._link.start()
        for consumer in self._consumers:
            await consumer.start()
        self._gate_loop.start()

    async def stop(self) -> None:
        """Take nothing more; what is in hand is decided, or goes back with the connection. Twice is fine."""
        await self._gate_loop.stop()
        for consumer in self._consumers:
            await consumer.stop()
        await self._link.stop()

    async def count_rejected(self) -> int | None:
        """Messages in the rejected queue; None while the broker is away."""
        try:
            channel = await self._link.open_channel()
            size, _ = await queue_size(channel, self._names.rejected)
            await channel.close()
        except BrokerUnavailable:
            return None
        return size
