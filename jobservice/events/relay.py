"""Publishes what transactions told: from memory right after the commit, from the outbox after trouble.

One relay per daemon, one channel. At least once and in order per job: duplicates are allowed, overtaking is not.
docs/lifecycle.md has the argument. The relay has two modes:

- *direct*: batches come from memory, in the order of their commits; each batch whose jobs may have earlier facts in
  somebody else's outbox rows first publishes those.
- *behind*, after any failure and when memory is full: nothing more is kept, and this daemon's own rows are read back
  and published by id until none is left. Only then is memory used again. What it holds when it is full is older than
  what it has no room for, and is published first; after a failure it is dropped.

Rows of clients and of dead daemons are swept by one daemon at a time, by id, on the same channel.
"""

import asyncio
import time
from collections.abc import Callable, Iterable, Sequence
from uuid import UUID

import structlog

from jobservice.broker.frames import OutgoingMessage
from jobservice.broker.messages import event_message
from jobservice.domain.facts import Committed, Fact, JobCard
from jobservice.domain.states import JobStatus
from jobservice.events import batches
from jobservice.events.batches import EventPublisher, at_once
from jobservice.events.memory import Memory
from jobservice.store.outbox import Outbox, OutboxRow, StoredCard
from jobservice.store.session import Session

log = structlog.get_logger(__name__)

ROWS_AT_ONCE = 100
FIRST_PUBLISHED = 2
"""Sequence of the first fact that can have an earlier published one only where submissions are published too."""


class Relay:
    """`offer` never waits; `run_once` belongs to a Loop."""

    def __init__(
        self,
        *,
        session: Session,
        outbox: Outbox,
        publisher: EventPublisher,
        daemon_id: UUID,
        result_max_bytes: int,
        confirm: Callable[[int], None],
        wake: Callable[[], None],
    ) -> None:
        self._session = session
        self._outbox = outbox
        self._publisher = publisher
        self._daemon_id = daemon_id
        self._result_max_bytes = result_max_bytes
        self._confirm = confirm
        self._wake = wake
        self._memory = Memory()
        self._behind = False
        self._dropped = 0
        self._sweep_wanted = True
        self._oldest_since: float | None = None
        self._idle = asyncio.Event()
        self._idle.set()
        self.published = 0
        """Events confirmed by the broker since the start."""

    @property
    def behind(self) -> bool:
        """Whether own rows are read back from the outbox."""
        return self._behind

    @property
    def lag_seconds(self) -> float:
        """For how long something has been waiting to be published; 0 when nothing is."""
        return 0.0 if self._oldest_since is None else time.monotonic() - self._oldest_since

    def offer(self, committed: Committed) -> None:
        """A transaction of this daemon is committed; its events are due."""
        self._oldest_since = self._oldest_since or time.monotonic()
        self._idle.clear()
        if not self._behind and not self._memory.keep(committed):
            self._fall_behind("memory is full")
        if self._behind:
            self._dropped += 1
        self._wake()

    def sweep(self) -> None:
        """There are, or may be, rows that no living daemon publishes by itself."""
        self._sweep_wanted = True
        self._wake()

    def catch_up(self, reason: str) -> None:
        """Own rows lie in the outbox that memory does not hold: an answer was lost."""
        if not self._behind or self._memory:
            self._fall_behind(reason)
            self._memory.clear()
        self._wake()

    def holds(self, outbox_id: int) -> bool:
        """Whether memory holds this row, unpublished."""
        return self._memory.holds(outbox_id)

    async def drained(self) -> None:
        """Returns when everything offered so far is confirmed."""
        await self._idle.wait()

    async def run_once(self) -> float | None:
        """One batch. Raises UnavailableError; nothing is lost by it."""
        if self._memory:
            await self._publish_memory()
        elif self._behind:
            await self._catch_up()
        if self._sweep_wanted:
            await self._sweep()
        if self._memory or self._behind:
            return 0
        self._oldest_since = None
        self._idle.set()
        return None

    async def _publish_memory(self) -> None:
        batch = self._memory.take(batches.FACTS_AT_ONCE)
        try:
            messages = await self._messages_of(batch)
            await self._publisher.publish(messages)
        except BaseException as error:
            self._fall_behind(str(error))
            self._memory.clear()
            raise
        self.published += len(messages)
        for committed in batch:
            self._memory.confirm(committed.outbox_id)
            self._confirm(committed.outbox_id)

    async def _messages_of(self, batch: Sequence[Committed]) -> list[OutgoingMessage]:
        messages: list[OutgoingMessage] = []
        for committed in batch:
            if committed.look_back:
                messages.extend(await self._earlier(committed.outbox_id, {fact.job_id for fact in committed.facts}))
            for fact in committed.facts:
                card = committed.cards[fact.job_id]
                result = committed.results.get(fact.job_id) if fact.status is JobStatus.SUCCEEDED else None
                messages.append(self._message(card, fact, result))
        return messages

    async def _earlier(self, before: int, jobs: set[UUID]) -> list[OutgoingMessage]:
        """Unpublished facts of these jobs in rows with smaller ids, whoever's they are."""
        async with self._session.use() as connection:
            facts = await self._outbox.earlier(connection, before=before, jobs=jobs)
            cards = await self._outbox.cards(connection, {fact.job_id for fact in facts}) if facts else {}
        return [self._stored_message(cards[fact.job_id], fact) for fact in facts if fact.job_id in cards]

    async def _catch_up(self) -> None:
        """Publishes own rows by id. Memory is used again once a look finds none and nothing was dropped meanwhile."""
        dropped = self._dropped
        async with self._session.use() as connection:
            rows = at_once(await self._outbox.own(connection, self._daemon_id, limit=ROWS_AT_ONCE))
        if rows:
            await self._publish_rows(rows)
        elif self._dropped == dropped:
            self._behind = False
            log.info("relay.recover")

    async def _sweep(self) -> None:
        async with self._session.use() as connection:
            mine = await self._outbox.try_sweep_lock(connection)
        self._sweep_wanted = False
        if not mine:
            return
        try:
            more = await self._sweep_rows()
        except BaseException:
            self._sweep_wanted = True  # the broker was away, say: nobody may ask again for these rows
            raise
        finally:
            async with self._session.use() as connection:
                await self._outbox.release_sweep_lock(connection)
        if more:
            self.sweep()

    async def _sweep_rows(self) -> bool:
        async with self._session.use() as connection:
            found = await self._outbox.ownerless(connection, limit=ROWS_AT_ONCE)
        rows = at_once(found)
        if rows:
            await self._publish_rows(rows)
        return len(found) == ROWS_AT_ONCE or len(rows) < len(found)

    async def _publish_rows(self, rows: Sequence[OutboxRow]) -> None:
        """Rows by id; each job's earlier facts from others' rows first. What cannot be told is set aside."""
        looked_up = {fact.job_id for row in rows for fact in row.facts if fact.sequence >= FIRST_PUBLISHED}
        async with self._session.use() as connection:
            cards = await self._outbox.cards(connection, {fact.job_id for row in rows for fact in row.facts})
            earlier = await self._outbox.earlier(connection, before=rows[-1].id, jobs=looked_up) if looked_up else []
        told = {row.id: self._told(row, cards) for row in rows}
        for row_id, problem in [(row_id, told_of) for row_id, told_of in told.items() if isinstance(told_of, str)]:
            await self._set_aside(row_id, problem)
        kept = [fact for told_of in told.values() if not isinstance(told_of, str) for fact in told_of]
        known = {(fact.job_id, fact.sequence) for fact, _ in kept}
        foreign = [fact for fact in earlier if (fact.job_id, fact.sequence) not in known and fact.job_id in cards]
        messages = [
            message if message is not None else self._stored_message(cards[fact.job_id], fact)
            for fact, message in _by_sequence(foreign, kept)
        ]
        await self._publisher.publish(messages)
        self.published += len(messages)
        async with self._session.use() as connection:
            await self._outbox.delete(
                connection, [row_id for row_id, told_of in told.items() if not isinstance(told_of, str)]
            )

    def _told(self, row: OutboxRow, cards: dict[UUID, StoredCard]) -> list[tuple[Fact, OutgoingMessage]] | str:
        """The row's events, or why they cannot be told."""
        if row.problem is not None:
            return row.problem
        if any(fact.job_id not in cards for fact in row.facts):
            return "it tells of a job that is gone"
        try:
            return [(fact, self._stored_message(cards[fact.job_id], fact)) for fact in row.facts]
        except (TypeError, ValueError) as error:
            return f"{type(error).__name__}: {error}"

    async def _set_aside(self, row_id: int, problem: str) -> None:
        log.error("outbox.set_aside", outbox_id=row_id, reason=problem)
        async with self._session.use() as connection:
            await self._outbox.set_aside(connection, row_id, problem)

    def _stored_message(self, stored: StoredCard, fact: Fact) -> OutgoingMessage:
        return self._message(stored.card, fact, stored.result if fact.status is JobStatus.SUCCEEDED else None)

    def _message(self, card: JobCard, fact: Fact, result: str | None) -> OutgoingMessage:
        if result is None:
            return event_message(card, fact)
        if not result or len(result.encode()) > self._result_max_bytes:
            return event_message(card, fact, result_omitted=True)
        return event_message(card, fact, result=result)

    def _fall_behind(self, reason: str) -> None:
        if not self._behind:
            log.warning("relay.fall_behind", reason=reason, facts_in_memory=self._memory.facts)
        self._behind = True


def _by_sequence(
    foreign: Sequence[Fact], own: Sequence[tuple[Fact, OutgoingMessage]]
) -> Iterable[tuple[Fact, OutgoingMessage | None]]:
    """Own facts in their order; before a job's own fact, its foreign ones that are earlier, without a message yet."""
    waiting: dict[UUID, list[Fact]] = {}
    for fact in sorted(foreign, key=lambda fact: fact.sequence):
        waiting.setdefault(fact.job_id, []).append(fact)
    for fact, message in own:
        before = waiting.get(fact.job_id, [])
        while before and before[0].sequence < fact.sequence:
            yield before.pop(0), None
        yield fact, message
