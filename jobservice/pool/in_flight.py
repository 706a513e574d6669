"""The runs that this daemon holds: from their claim until the end is committed. What memory says; the rows are right.

The status writer tells it how runs stand in the database; it never writes.
"""

import time
from collections.abc import Callable, Mapping
from uuid import UUID

from structlog.typing import FilteringBoundLogger

from jobservice.domain.outcomes import HandedBack, Outcome, Retried, Succeeded
from jobservice.domain.states import JobStatus
from jobservice.pool.run import Run
from jobservice.pool.slot_time import Held, SlotTime

RunKey = tuple[UUID, int]


class InFlight:
    """All held runs, by job and run."""

    def __init__(self, *, log: FilteringBoundLogger, released: Callable[[tuple[str, str] | None], None]) -> None:
        self._held: dict[RunKey, Held] = {}
        self._log = log
        self._released = released
        self.slot_time = SlotTime()
        self.stale_reports = 0
        """Reports of runs that were not their jobs' current ones any more: refused, none written."""
        self.results_held = 0
        """Characters of results that are not committed yet."""

    def __len__(self) -> int:
        return len(self._held)

    def __contains__(self, key: RunKey) -> bool:
        return key in self._held

    @property
    def runs(self) -> list[Run]:
        """All held runs, those included whose end is not yet committed."""
        return [held.run for held in self._held.values()]

    @property
    def keys(self) -> frozenset[RunKey]:
        """Which runs are held."""
        return frozenset(self._held)

    def add(self, run: Run, concurrency_key: tuple[str, str] | None) -> Held:
        """A claim brought it."""
        held = Held(run, time.monotonic(), concurrency_key)
        self._held[(run.job_id, run.run)] = held
        return held

    def find(self, key: RunKey) -> Run | None:
        """The run, while it is held."""
        held = self._held.get(key)
        return held.run if held is not None else None

    def freed(self, held: Held) -> None:
        """The slot of the run is free."""
        self.slot_time.freed(held)
        outcome = held.run.outcome
        if not held.written and isinstance(outcome, Succeeded) and outcome.result is not None:
            held.result_size = len(outcome.result)
            self.results_held += held.result_size

    def stop(self, marks: Mapping[RunKey, str]) -> None:
        """Ends the held ones of these runs, with the reasons given."""
        for key, reason in marks.items():
            run = self.find(key)
            if run is not None:
                run.request_stop(reason)

    def keep_back(self, reasons: Mapping[RunKey, str]) -> None:
        """Hands those of these runs back that have not begun."""
        for key, reason in reasons.items():
            run = self.find(key)
            if run is not None:
                run.keep_back(reason)

    # What the status writer tells.

    def started(self, job_id: UUID, run: int) -> None:
        """The start of the run is committed."""
        held = self._held.get((job_id, run))
        if held is not None:
            self._tell("job.start", held)

    def settled(self, job_id: UUID, run: int, status: JobStatus) -> None:
        """The end of the run is committed."""
        held = self._held.pop((job_id, run), None)
        if held is None:
            return
        self.results_held -= held.result_size
        self.slot_time.written(held)
        self._released(held.concurrency_key)
        self._tell(_event(held.run.outcome, status), held, status=status.value)

    def stale(self, job_id: UUID, run: int, status: str | None) -> None:
        """The job belongs to a newer run, or to nobody: this run ends, and what it says is not written."""
        self.stale_reports += 1
        held = self._held.pop((job_id, run), None)
        if held is None:
            return
        self.results_held -= held.result_size
        self.slot_time.forget(held)
        self._log.warning("job.stale", job_id=str(job_id), run=run, status=status)
        held.run.abandon()
        self._released(held.concurrency_key)

    def stop_marked(self, job_id: UUID, run: int) -> None:
        """The start is committed, and somebody has asked to stop the job."""
        self.stop({(job_id, run): "stopped"})

    def _tell(self, event: str, held: Held, **more: str) -> None:
        run, card = held.run, held.run.claimed.card
        self._log.info(
            event,
            job_id=str(run.job_id),
            run=run.run,
            tenant=card.tenant,
            queue=card.queue,
            job_class=card.job_class,
            correlation_id=card.correlation_id,
            **more,
        )


def _event(outcome: Outcome | None, status: JobStatus) -> str:
    if status.final:
        return "job.finish"
    return {Retried: "job.retry", HandedBack: "job.hand_back"}.get(type(outcome), "job.finish")
