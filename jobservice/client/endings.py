"""Final events of one tenant, kept until somebody asks: how a client without a database knows that a job has ended."""

import asyncio
import contextlib
from collections import OrderedDict
from uuid import UUID

from jobservice.broker.messages import JobEvent
from jobservice.client.broker import ClientBroker
from jobservice.client.selection import job_selection
from jobservice.client.subscription import Subscription
from jobservice.domain.errors import BrokerUnavailable
from jobservice.domain.states import FINAL

_KEPT = 100_000
_LOOK = 1.0


class Endings:
    """One private subscription to a tenant's final events, opened before its first submission."""

    def __init__(self, *, broker: ClientBroker, tenant: str) -> None:
        self._broker = broker
        self._tenant = tenant
        self._ended: OrderedDict[UUID, JobEvent] = OrderedDict()
        self._arrived = asyncio.Condition()
        self._events: Subscription[JobEvent] | None = None
        self._reader: asyncio.Task[None] | None = None
        self._opening = asyncio.Lock()

    async def listen(self) -> None:
        """Subscribe, once; from then on no end is missed while the connection lasts."""
        async with self._opening:
            if self._reader is not None and not self._reader.done():
                return
            self._events = Subscription(
                broker=self._broker,
                selection=job_selection(self._broker.names, tenant=self._tenant, statuses=frozenset(FINAL)),
                durable=None,
                expires=None,
                single_active=False,
                prefetch=1_000,
                note=None,
            )
            await self._events.__aenter__()
            self._reader = asyncio.create_task(self._read(self._events), name="client-endings")

    async def of(self, job_id: UUID) -> JobEvent:
        """The final event of a job, as soon as it has come.

        Raises BrokerUnavailable when the connection is lost meanwhile: the event may have passed unseen.
        """
        events = self._events
        gaps = events.gaps if events is not None else 0
        async with self._arrived:
            while job_id not in self._ended:
                if events is None or events.gaps > gaps or self._reader is None or self._reader.done():
                    raise BrokerUnavailable(
                        f"the connection was lost while waiting for job {job_id}: its end may have passed unseen; "
                        "a client with a database_url could look"
                    )
                # A lost connection notifies nobody.
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(_LOOK):
                        await self._arrived.wait()
        return self._ended[job_id]

    async def close(self) -> None:
        """Leave."""
        reader, self._reader = self._reader, None
        if reader is not None:
            reader.cancel()
            await asyncio.gather(reader, return_exceptions=True)
        if self._events is not None:
            with contextlib.suppress(BrokerUnavailable):
                await self._events.__aexit__(None, None, None)

    async def _read(self, events: Subscription[JobEvent]) -> None:
        async for event in events:
            async with self._arrived:
                self._ended[event.job_id] = event
                while len(self._ended) > _KEPT:
                    self._ended.popitem(last=False)
                self._arrived.notify_all()
