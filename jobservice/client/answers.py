"""What the client answers besides JobInfo and the results of commands: pages and runs."""

from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from jobservice.sdk.job_info import JobInfo


@dataclass(frozen=True, slots=True, kw_only=True)
class Page:
    """Some jobs, newest first; `next` goes into `after` for the ones behind them, None at the end."""

    jobs: list[JobInfo]
    next: UUID | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """One run of a job; `ending` is retried, handed_back, lost, or the status that it ended or stands in."""

    run: int
    attempt: int
    daemon_id: UUID | None
    claim_date: datetime | None
    start_date: datetime | None
    end_date: datetime | None
    ending: str
    error_type: str | None
    error_message: str | None
