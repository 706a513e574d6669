"""What a flush sends and what its rows mean: one run as an item, its columns, and the facts of what was written."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import assert_never
from uuid import UUID

import asyncpg

from jobservice.domain.facts import Fact, JobCard, is_published
from jobservice.domain.outcomes import Aborted, Failed, HandedBack, Outcome, Parked, Retried, Succeeded
from jobservice.domain.states import JobStatus

RunKey = tuple[UUID, int]


@dataclass(frozen=True, slots=True)
class FlushItem:
    """One run in a flush: its start, its end, or both."""

    job_id: UUID
    run: int
    card: JobCard
    started_at: float | None
    outcome: Outcome | None = None
    progress_info: str | None = None
    """What its job has told of its progress, as JSON text with the steps' offsets."""

    @property
    def key(self) -> RunKey:
        """Job and run."""
        return (self.job_id, self.run)

    @property
    def would_end(self) -> JobStatus | None:
        """The final status that this item brings about, if any. Another one was brought about by somebody else."""
        match self.outcome:
            case None:
                return None
            case Succeeded():
                return JobStatus.SUCCEEDED
            case Failed():
                return JobStatus.FAILED
            case _:
                return JobStatus.ABORTED

    @property
    def submits(self) -> bool:
        """Whether jobs may be submitted with it: it may have to wait for who uses the same key, or holds its parts."""
        return isinstance(self.outcome, Parked) or (
            isinstance(self.outcome, Succeeded)
            and (self.outcome.next_jobs is not None or self.outcome.stage_changes is not None)
        )

    @property
    def has_followers(self) -> bool:
        """Whether something follows from it in its own transaction: other jobs, or a stage that it belongs to."""
        if self.card.stage_id is not None:
            return True
        return isinstance(self.outcome, Parked) or (
            isinstance(self.outcome, Succeeded) and self.outcome.next_jobs is not None
        )


@dataclass(slots=True)
class FlushColumns:
    """The members of one item in the arrays of the statement, under its names."""

    ids: UUID
    runs: int
    begun: float | None
    events: str
    outcomes: str | None = None
    reasons: str | None = None
    results: str | None = None
    result_classes: str | None = None
    error_types: str | None = None
    error_messages: str | None = None
    stack_traces: str | None = None
    delays: float | None = None
    infos: str | None = None


def columns_of(item: FlushItem, now: float) -> FlushColumns:
    """What the statement is sent; `now` is monotonic."""
    begun = None if item.started_at is None else max(0.0, now - item.started_at)
    columns = FlushColumns(
        ids=item.job_id, runs=item.run, begun=begun, events=item.card.events, infos=item.progress_info
    )
    match item.outcome:
        case None:
            pass
        case Succeeded(result=result, result_class=result_class):
            columns.outcomes, columns.results, columns.result_classes = "SUCCEEDED", result, result_class
        case Failed(error_type=error_type, message=message, stack_trace=trace):
            columns.outcomes, columns.error_types, columns.error_messages = "FAILED", error_type, message
            columns.stack_traces = trace
        case Retried(failed=failed, delay=delay):
            columns.outcomes, columns.delays = "RETRIED", delay
            columns.error_types, columns.error_messages = failed.error_type, failed.message
        case Parked():
            columns.outcomes = "PARKED"
        case Aborted(reason=reason):
            columns.outcomes, columns.reasons = "ABORTED", reason
        case HandedBack(reason=reason):
            columns.outcomes, columns.reasons = "HANDED_BACK", reason
        case _:
            assert_never(item.outcome)
    return columns


def _failure_told(outcome: Outcome | None, status: JobStatus) -> Failed | None:
    """The error that the event of this end names: of a job that failed, or failed and comes again."""
    if isinstance(outcome, Retried) and status is not JobStatus.ABORTED:
        return outcome.failed
    return outcome if isinstance(outcome, Failed) else None


def claimed_at(row: asyncpg.Record) -> int:
    """The sequence of the claim of the run that this row tells of."""
    started = row["starts"] or row["was"] == JobStatus.RUNNING
    return int(row["sequence"]) - int(started) - int(row["ends"])


def facts_of(row: asyncpg.Record, item: FlushItem, daemon_id: UUID) -> Iterable[Fact]:
    """What one returned row says happened and is to be published: a start, an end, or both."""
    ends, mode = row["ends"], item.card.events
    if row["starts"] and is_published(mode, JobStatus.RUNNING):
        yield Fact(
            job_id=item.job_id,
            sequence=row["sequence"] - (1 if ends else 0),
            run=item.run,
            attempt=row["attempt"],
            status=JobStatus.RUNNING,
            previous_status=JobStatus.TO_BE_RUN,
            time=row["start_date"],
            priority=row["priority"],
            percent_completed=0,
            daemon_id=daemon_id,
        )
    if ends and is_published(mode, status := JobStatus(row["status"])):
        failed = _failure_told(item.outcome, status)
        yield Fact(
            job_id=item.job_id,
            sequence=row["sequence"],
            run=item.run,
            attempt=row["attempt"],
            status=status,
            previous_status=JobStatus.RUNNING if row["starts"] else JobStatus(row["was"]),
            time=row["at"],
            priority=row["priority"],
            percent_completed=row["percent_completed"],
            daemon_id=daemon_id if status.final else None,
            will_retry=failed is not None and not status.final,
            error=None if failed is None else {"type": failed.error_type, "message": failed.message},
        )
