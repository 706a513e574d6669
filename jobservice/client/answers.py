"""What the client answers besides JobInfo: results of commands, pages, runs."""

from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from jobservice.domain.errors import ErrorCode, JobServiceError, NotLegal, UnknownJob
from jobservice.domain.states import JobStatus
from jobservice.sdk.job_info import JobInfo


@dataclass(frozen=True, slots=True, kw_only=True)
class CommandResult:
    """What became of one id: its status afterwards (None: there is no such job), and why it was refused."""

    job_id: UUID
    status: JobStatus | None
    accepted: bool
    code: ErrorCode | None = None
    reason: str | None = None

    def refusal(self, verb: str) -> JobServiceError | None:
        """The error that tells of the refusal; None where it was accepted."""
        if self.accepted:
            return None
        if self.code == "unknown_job" or self.status is None:
            return UnknownJob(self.job_id)
        return NotLegal(self.job_id, verb, self.status, self.reason)


@dataclass(frozen=True, slots=True, kw_only=True)
class Page:
    """Some jobs, newest first; `next` goes into `after` for the ones behind them, None at the end."""

    jobs: list[JobInfo]
    next: UUID | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """One run of a job; `ending` is handed_back, lost, or the status that it ended or stands in."""

    run: int
    attempt: int
    daemon_id: UUID | None
    claim_date: datetime | None
    start_date: datetime | None
    end_date: datetime | None
    ending: str
    error_type: str | None
    error_message: str | None
