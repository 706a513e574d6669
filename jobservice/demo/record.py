"""What happened in one demo, gathered: what was submitted, heard, answered, stored and left over. Pure."""

from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID

from jobservice.broker.messages import JobEvent
from jobservice.demo.plan import Part
from jobservice.sdk.job_info import JobInfo


@dataclass(frozen=True, slots=True)
class Compared:
    """One file, digested by the job and again by hashlib."""

    file: str
    by_job: str
    by_hashlib: str


@dataclass(slots=True)
class Record:
    """The evidence that the checks judge."""

    parts: dict[UUID, Part] = field(default_factory=dict)
    """Every job that was accepted, in the order of submission."""
    planned: int = 0
    """How many there were to be."""
    events: list[JobEvent] = field(default_factory=list)
    """In the order received."""
    replies: dict[Part, dict[str, Any]] = field(default_factory=dict)
    """What the daemon answered to bare messages about the job of that part."""
    rows: dict[UUID, JobInfo] = field(default_factory=dict)
    """The jobs as the database has them at the end."""
    unpublished: int = 0
    """Rows in the outbox, and rows set aside."""
    workspace: list[str] = field(default_factory=list)
    """What is left in the workspace directory."""
    compared: list[Compared] = field(default_factory=list)
    daemon_exit: int | None = 0
    seconds: float = 0.0
    """From the first submission to the last event."""

    def job_of(self, part: Part) -> JobInfo | None:
        """The row of the one job that plays this part."""
        return next((self.rows[job_id] for job_id in self.ids_of(part) if job_id in self.rows), None)

    def ids_of(self, part: Part) -> Iterator[UUID]:
        """The jobs that play this part."""
        return (job_id for job_id, played in self.parts.items() if played is part)

    def events_by_job(self) -> dict[UUID, list[JobEvent]]:
        """Each job's events in the order received, repetitions left out as a consumer does: by their id."""
        by_job: dict[UUID, dict[str, JobEvent]] = defaultdict(dict)
        for event in self.events:
            by_job[event.job_id].setdefault(event.id, event)
        return {job_id: list(events.values()) for job_id, events in by_job.items()}

    @property
    def distinct_events(self) -> int:
        """How many events there were, repetitions left out."""
        return len({event.id for event in self.events})
