"""A fact: one status change as the outbox keeps it. Its event is built from it and the job's card, in one place."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final, Literal, NamedTuple, get_args
from uuid import UUID

from jobservice.domain.states import JobStatus

EventMode = Literal["all", "final", "none"]
"""Which status changes of a queue's jobs are published."""

EVENT_MODES: Final = get_args(EventMode)


def is_published(mode: EventMode, status: JobStatus) -> bool:
    """Whether this change is; the SQL function of this name says the same."""
    return mode == "all" or (mode == "final" and status.final)


@dataclass(frozen=True, slots=True)
class JobCard:
    """What an event says of a job and what never changes."""

    job_id: UUID
    tenant: str
    queue: str
    job_class: str
    owner: str | None = None
    description: str | None = None
    correlation_id: str | None = None
    traceparent: str | None = None
    pipeline_id: UUID | None = None
    stage_id: UUID | None = None
    events: EventMode = "all"
    """What its queue published when the run was claimed. No event tells of it."""


class Fact(NamedTuple):
    """One status change. `sequence` counts a job's changes; the submission is 1."""

    job_id: UUID
    sequence: int
    run: int
    attempt: int
    status: JobStatus
    previous_status: JobStatus | None
    time: datetime
    priority: int
    percent_completed: int
    daemon_id: UUID | None
    will_retry: bool = False
    error: dict[str, Any] | None = None
    """`{"type", "message"}` when FAILED or `will_retry`."""


@dataclass(frozen=True, slots=True)
class Committed:
    """What one transaction told: the content of one outbox row, as memory holds it right after the commit."""

    outbox_id: int
    facts: tuple[Fact, ...]
    cards: Mapping[UUID, JobCard]
    results: Mapping[UUID, str]
    """JSON texts of results, for SUCCEEDED facts."""
    look_back: bool = False
    """Whether an earlier fact of one of these jobs may still wait in somebody else's outbox row."""
