"""Publishes what was told of pipelines, stages, held classes, from `pipeline_outbox`: by id, by one daemon at a time.

There is no other way for these events, so that their order is that of the ids, which are drawn under the pipeline's
lock. At least once: a row is deleted after the broker has confirmed all of it. The relay, which tells of jobs, neither
waits for this nor is waited for.
"""

import asyncio
from collections.abc import Callable, Sequence

import structlog

from jobservice.broker.class_messages import class_event_message
from jobservice.broker.frames import OutgoingMessage
from jobservice.broker.pipeline_messages import pipeline_event_message
from jobservice.domain.class_facts import ClassFact
from jobservice.domain.pipeline_facts import PipelineFact
from jobservice.events.batches import EventPublisher, at_once
from jobservice.store.pipeline_outbox import PipelineOutbox, PipelineRow
from jobservice.store.session import Session

log = structlog.get_logger(__name__)

ROWS_AT_ONCE = 500


class PipelineSweep:
    """`run_once` belongs to a Loop."""

    def __init__(
        self, *, session: Session, outbox: PipelineOutbox, publisher: EventPublisher, wake: Callable[[], None]
    ) -> None:
        self._session = session
        self._outbox = outbox
        self._publisher = publisher
        self._wake = wake
        self._wanted = True
        self._idle = asyncio.Event()
        self.published = 0
        """Events confirmed by the broker since the start."""

    def sweep(self) -> None:
        """There are, or may be, rows."""
        self._wanted = True
        self._idle.clear()
        self._wake()

    async def drained(self) -> None:
        """Returns when all rows that there are now have been published, or somebody else is at it."""
        self.sweep()
        await self._idle.wait()

    async def run_once(self) -> float | None:
        """One batch, if there is one and nobody else is at it. Raises UnavailableError; nothing is lost by it."""
        if self._wanted:
            await self._sweep()
        if self._wanted:
            return 0
        self._idle.set()
        return None

    async def _sweep(self) -> None:
        async with self._session.use() as connection:
            mine = await self._outbox.try_lock(connection)
        # Now, before the look: who asks from here on may mean a row that the look does not see.
        self._wanted = False
        if not mine:
            return
        try:
            more = await self._publish_oldest()
        except BaseException:
            self._wanted = True  # the broker was away, say: nobody may ask again for these rows
            raise
        finally:
            async with self._session.use() as connection:
                await self._outbox.unlock(connection)
        self._wanted = self._wanted or more

    async def _publish_oldest(self) -> bool:
        """Whether there may be more."""
        async with self._session.use() as connection:
            rows = await self._outbox.oldest(connection, limit=ROWS_AT_ONCE)
        for row in rows:
            if row.problem is not None:
                await self._set_aside(row.id, row.problem)
        good = [row for row in rows if row.problem is None]
        batch = at_once(good)
        if batch:
            await self._publish(batch)
        return len(rows) == ROWS_AT_ONCE or len(batch) < len(good)

    async def _publish(self, rows: Sequence[PipelineRow]) -> None:
        messages = [_message(fact) for row in rows for fact in row.facts]
        await self._publisher.publish(messages)
        self.published += len(messages)
        async with self._session.use() as connection:
            await self._outbox.delete(connection, [row.id for row in rows])

    async def _set_aside(self, row_id: int, problem: str) -> None:
        log.error("pipeline_outbox.set_aside", outbox_id=row_id, reason=problem)
        async with self._session.use() as connection:
            await self._outbox.set_aside(connection, row_id, problem)


def _message(fact: PipelineFact | ClassFact) -> OutgoingMessage:
    return class_event_message(fact) if isinstance(fact, ClassFact) else pipeline_event_message(fact)
