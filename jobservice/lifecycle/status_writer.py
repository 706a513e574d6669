"""Writes the starts and ends of a daemon's runs, grouped: while one flush is in flight, the next gathers, and in a
stream of small ones for a while longer.

Runs report and go on; nothing waits for a flush but the memory of the run. A flush whose answer was lost is sent again:
the fence makes the repetition harmless. A flush that the database refuses for its data is split in halves until the
culprit stands alone; that job ends FAILED with the reason, the others are written.
"""

import asyncio
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from itertools import islice
from typing import Protocol
from uuid import UUID

import asyncpg
import structlog

from jobservice.domain.claimed import ClaimedJob
from jobservice.domain.errors import InvalidSubmission
from jobservice.domain.facts import Committed, JobCard
from jobservice.domain.names import clean_text
from jobservice.domain.outcomes import Failed, HandedBack, Outcome, Succeeded
from jobservice.lifecycle.claim import FIRST_CLAIM
from jobservice.lifecycle.flush import FlushItem, RunKey
from jobservice.lifecycle.flush_throttle import FlushThrottle
from jobservice.lifecycle.flushing import Flushing, KeyTaken
from jobservice.lifecycle.following import Follower
from jobservice.lifecycle.telling import Telling, WriterListener
from jobservice.sdk.progress import Progress
from jobservice.store.session import Session

log = structlog.get_logger(__name__)

BATCH = 1_000
"""Most runs in one flush."""
RESULTS_AT_ONCE = 8 * 1024 * 1024
"""Characters of results beyond which a flush takes no more runs: its statement holds them several times over."""
CONFIRMED_DELAY = 0.05
"""Seconds that confirmed outbox rows may wait for a flush to delete them along."""
_REFUSED = "ResultRefused"
"""Error type of a job whose own end the database would not take."""
HELD_UP_DELAY = 0.05
"""Seconds until a run whose row somebody held is tried again, when nothing else is to be written."""


class RunLike(Protocol):
    """What the writer asks of a run."""

    @property
    def job_id(self) -> UUID: ...
    @property
    def run(self) -> int: ...
    @property
    def claimed(self) -> ClaimedJob: ...
    @property
    def started_at(self) -> float | None: ...
    @property
    def progress(self) -> Progress: ...


class StatusWriter:
    """One daemon's writer. `start`, `finish` and `confirm` never wait; `run_in_turn` belongs to a Loop."""

    def __init__(
        self,
        *,
        session: Session,
        daemon_id: UUID,
        schema: str,
        publish: Callable[[Committed], None],
        listener: WriterListener,
        follower: Follower,
        wake: Callable[[], None],
        due_soon: Callable[[], None] | None = None,
        first_published: int = FIRST_CLAIM,
        awaited: Callable[[], bool] = lambda: False,
    ) -> None:
        """`due_soon` is called when a job waits for its next attempt: its date may be nearer than anybody knows.

        `awaited`: whether ends that are committed are what the next claims wait for; they do not gather then.
        `first_published`: a claim with a higher sequence says that something of the job may have been published before.
        """
        self._flushing = Flushing(session=session, daemon_id=daemon_id, schema=schema, follower=follower)
        self._telling = Telling(
            daemon_id=daemon_id, publish=publish, listener=listener, due_soon=due_soon, first_published=first_published
        )
        self._wake = wake
        self._throttle = FlushThrottle(awaited)
        self._pending: dict[RunKey, FlushItem] = {}
        self._in_flight: dict[RunKey, FlushItem] = {}
        self._held_up: dict[RunKey, FlushItem] = {}
        self._confirmed: list[int] = []
        self._deleting: list[int] = []
        self._confirmed_since = 0.0
        self._empty = asyncio.Event()
        self._empty.set()
        self._tidy = asyncio.Event()
        self._tidy.set()

    @property
    def waiting(self) -> int:
        """Runs whose last report is not yet committed."""
        return len(self._pending) + len(self._in_flight)

    def has(self, key: RunKey) -> bool:
        """Whether a report of this run is not yet committed."""
        return key in self._pending or key in self._in_flight

    def deletes(self, outbox_id: int) -> bool:
        """Whether this row's events are confirmed and only its deletion is left."""
        return outbox_id in self._confirmed or outbox_id in self._deleting

    def start(self, run: RunLike) -> None:
        """RUNNING, with the next flush."""
        self._put(FlushItem(run.job_id, run.run, run.claimed.card, run.started_at))

    def finish(self, run: RunLike, outcome: Outcome) -> None:
        """The run's end; together with its start where that was not flushed yet."""
        info = run.progress.info
        told = info.text(run.started_at) if info is not None else None
        if run.claimed.has_key:
            self._throttle.hurry()
        self._put(FlushItem(run.job_id, run.run, run.claimed.card, run.started_at, outcome, told))

    def hand_back(self, job_id: UUID, run: int, card: JobCard, reason: str) -> None:
        """Gives back a job that no run of this process holds: its claim's answer, for one, was lost."""
        self._telling.doubt([(job_id, run)])
        self._put(FlushItem(job_id, run, card, None, HandedBack(reason)))

    def confirm(self, outbox_id: int) -> None:
        """The broker has this row's events: delete it along with a flush."""
        if not self._confirmed:
            self._confirmed_since = time.monotonic()
            self._wake()
        self._confirmed.append(outbox_id)
        self._tidy.clear()

    async def run_in_turn(self) -> float | None:
        """A flush, unless little has gathered in a stream of flushes: then the seconds until it is worth one."""
        return self._throttle.wait(len(self._pending)) or await self.run_once()

    async def run_once(self) -> float | None:
        """One flush of what has gathered. Raises UnavailableError; then all is kept for the next."""
        again = await self._flush()
        if not self._confirmed:
            self._tidy.set()
        return again

    async def _flush(self) -> float | None:
        if not self._pending:
            return await self._delete_confirmed_alone()
        items = self._take()
        confirmed = self._deleting = self._confirmed
        self._confirmed = []
        gathered = len(self._pending)
        began = time.monotonic()
        try:
            await self._write(items, confirmed)
            self._throttle.flushed(began)
        except BaseException:
            self._confirmed = confirmed + self._confirmed
            self._telling.doubt(self._in_flight)
            self._put_back()
            raise
        finally:
            self._in_flight = {**self._held_up}
            self._put_back()
            self._held_up = {}
            self._in_flight = {}
            if not self._pending:
                self._empty.set()
        if not self._pending:
            return None
        return 0 if gathered or len(items) == BATCH else HELD_UP_DELAY

    async def drained(self) -> None:
        """Returns when all reports so far are committed."""
        await self._empty.wait()

    async def tidied(self) -> None:
        """Returns when the outbox rows that were confirmed so far are deleted."""
        await self._tidy.wait()

    def _put(self, item: FlushItem) -> None:
        self._pending[item.key] = item
        self._empty.clear()
        if not self._throttle.holds(len(self._pending)):
            self._wake()

    def _take(self) -> list[FlushItem]:
        items: list[FlushItem] = []
        size = 0
        for item in islice(self._pending.values(), BATCH):
            size += _result_size(item)
            if items and size > RESULTS_AT_ONCE:
                break
            items.append(item)
        for item in items:
            del self._pending[item.key]
        self._in_flight = {item.key: item for item in items}
        return items

    def _put_back(self) -> None:
        # What was reported meanwhile of the same run is newer and carries the start along.
        self._pending = {**self._in_flight, **self._pending}

    async def _delete_confirmed_alone(self) -> float | None:
        """Gives the next flush a moment to take the deletions along; without one they go by themselves."""
        if not self._confirmed:
            return None
        waited = time.monotonic() - self._confirmed_since
        if waited < CONFIRMED_DELAY:
            return CONFIRMED_DELAY - waited
        confirmed = self._deleting = self._confirmed
        self._confirmed = []
        try:
            await self._flushing.write([], confirmed)
        except BaseException:
            self._confirmed = confirmed + self._confirmed
            raise
        return None

    async def _write(self, items: Sequence[FlushItem], confirmed: list[int]) -> None:
        plain = [item for item in items if not item.has_followers]
        if plain or confirmed:
            await self._write_split(plain, confirmed)
        followed, held_up = await self._flushing.without_held([item for item in items if item.has_followers])
        for item in held_up:
            self._hold_up(item)
        for group in self._flushing.apart(followed):
            await self._write_split(group, [])

    def _hold_up(self, item: FlushItem) -> None:
        self._held_up[item.key] = self._in_flight.pop(item.key)

    async def _write_split(self, items: Sequence[FlushItem], confirmed: list[int]) -> None:
        """Writes; what the database refuses for its data is halved until the culprit stands alone."""
        try:
            rows = await self._flushing.write(items, confirmed)
        except KeyTaken:
            await self._write_apart(items)
            return
        except (asyncpg.PostgresError, InvalidSubmission, ValueError) as refused:
            await self._split(items, confirmed, refused)
            return
        written = {(row["id"], row["run"]) for row in rows}
        for key in written:
            self._in_flight.pop(key, None)
        self._telling.written(items, rows, written)
        await self._tell_missing([item for item in items if item.key not in written])

    async def _write_apart(self, items: Sequence[FlushItem]) -> None:
        if len(items) == 1:
            self._flushing.try_later(items[0])
            self._hold_up(items[0])
            return
        if others := [item for item in items if not item.submits]:
            await self._write_split(others, [])
        for item in items:
            if item.submits:
                await self._write_split([item], [])

    async def _split(self, items: Sequence[FlushItem], confirmed: list[int], refused: Exception) -> None:
        if not items:
            raise refused
        if len(items) > 1:
            middle = len(items) // 2
            await self._write_split(items[:middle], confirmed)
            await self._write_split(items[middle:], [])
            return
        item = items[0]
        log.error("finish.refused", job_id=str(item.job_id), run=item.run, reason=str(refused))
        if isinstance(item.outcome, Failed) and item.outcome.error_type == _REFUSED:
            raise refused
        reason = f"its end could not be stored: {refused}"
        await self._write_split([replace(item, outcome=Failed(_REFUSED, clean_text(reason)))], confirmed)

    async def _tell_missing(self, missing: Sequence[FlushItem]) -> None:
        """For runs that nothing was written of: done before by a flush whose answer was lost, held up, or stale."""
        if not missing:
            return
        found = await self._flushing.standing(missing)
        for item in missing:  # until here a lost connection leaves them to the next flush
            self._in_flight.pop(item.key, None)
            if not self._telling.standing(item, found.get(item.job_id)):
                self._held_up[item.key] = item


def _result_size(item: FlushItem) -> int:
    if isinstance(item.outcome, Succeeded) and item.outcome.result is not None:
        return len(item.outcome.result)
    return 0
