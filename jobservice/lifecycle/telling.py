"""Tells what a flush has written, or found: the pool how each run stands, the relay the facts of the transaction.

Called by the status writer after the commit; it writes nothing.
"""

from collections.abc import Callable, Iterable, Sequence
from typing import Protocol
from uuid import UUID

import asyncpg
import structlog

from jobservice.domain.facts import Committed, Fact
from jobservice.domain.outcomes import Succeeded
from jobservice.domain.states import LIVE, JobStatus
from jobservice.lifecycle.flush import FlushItem, RunKey, claimed_at, facts_of

log = structlog.get_logger(__name__)

RESULT_TOLD = 65_536
"""Longer results are in no event: those who publish are told only that there is one."""


class WriterListener(Protocol):
    """Who is told how runs stand in the database. None of these waits or raises."""

    def started(self, job_id: UUID, run: int) -> None:
        """The start of the run is committed."""

    def settled(self, job_id: UUID, run: int, status: JobStatus) -> None:
        """The end of the run is committed."""

    def stale(self, job_id: UUID, run: int, status: str | None) -> None:
        """The run is no longer the job's current one; nothing was written."""

    def stop_marked(self, job_id: UUID, run: int) -> None:
        """The start is committed, and somebody has asked to stop the job."""


class Telling:
    """Of one daemon's flushes, in the order of their commits."""

    def __init__(
        self,
        *,
        daemon_id: UUID,
        publish: Callable[[Committed], None],
        listener: WriterListener,
        due_soon: Callable[[], None] | None,
        first_published: int,
    ) -> None:
        """`due_soon` and `first_published` as of the status writer."""
        self._daemon_id = daemon_id
        self._publish = publish
        self._listener = listener
        self._due_soon = due_soon
        self._first_published = first_published
        self._doubtful: set[RunKey] = set()

    def doubt(self, runs: Iterable[RunKey]) -> None:
        """The outbox may have rows of these runs that memory does not know: an answer was lost."""
        self._doubtful.update(runs)

    def written(self, items: Sequence[FlushItem], rows: Sequence[asyncpg.Record], written: set[RunKey]) -> None:
        """A flush of these items is committed; `rows` are what it wrote, of the runs `written`."""
        if not rows:
            return
        by_key = {item.key: item for item in items}
        facts: list[Fact] = []
        results: dict[UUID, str] = {}
        for row in rows:
            item = by_key[(row["id"], row["run"])]
            facts.extend(facts_of(row, item, self._daemon_id))
            if isinstance(item.outcome, Succeeded) and item.outcome.result is not None:
                results[item.job_id] = item.outcome.result if len(item.outcome.result) <= RESULT_TOLD else ""
            if row["starts"]:
                self._listener.started(item.job_id, item.run)
            if row["ends"]:
                self._listener.settled(item.job_id, item.run, JobStatus(row["status"]))
            elif row["stop_requested"]:
                self._listener.stop_marked(item.job_id, item.run)
        if self._due_soon is not None and any(row["status"] == JobStatus.PENDING for row in rows):
            self._due_soon()
        outbox_id = rows[0]["outbox_id"]
        if outbox_id is not None:
            cards = {item.job_id: item.card for item in items}
            look_back = not self._doubtful.isdisjoint(written) or any(
                by_key[(row["id"], row["run"])].card.events == "final" and claimed_at(row) > self._first_published
                for row in rows
            )
            self._doubtful -= written
            self._publish(Committed(outbox_id, tuple(facts), cards, results, look_back))

    def standing(self, item: FlushItem, row: asyncpg.Record | None) -> bool:
        """A flush wrote nothing of this run, whose job stands as `row` says. False where it is to be tried again."""
        mine = row is not None and row["run"] == item.run and row["daemon_id"] == self._daemon_id
        status = JobStatus(row["status"]) if row is not None else None
        if mine and status is not None and status is item.would_end:
            self._doubtful.discard(item.key)
            self._listener.settled(item.job_id, item.run, status)
        elif mine and item.outcome is None and status is JobStatus.RUNNING:
            pass
        elif mine and status in LIVE:
            return False  # somebody holds the row: the others did not wait
        else:
            self._doubtful.discard(item.key)
            log.warning("finish.stale", job_id=str(item.job_id), run=item.run, status=status)
            self._listener.stale(item.job_id, item.run, status)
        return True
