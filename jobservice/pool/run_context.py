"""Owns what a job may ask of its run: the JobContext, without anything of how the run is executed."""

from pathlib import Path
from typing import Any
from uuid import UUID

from structlog.typing import FilteringBoundLogger

from jobservice.domain.claimed import ClaimedJob
from jobservice.pool.claimed_info import info_of
from jobservice.pool.ending import Ending
from jobservice.sdk.job_info import JobInfo
from jobservice.sdk.progress import Progress


class RunContext:
    """The side of a run that its job sees."""

    __slots__ = (
        "_ending",
        "_info",
        "_job_log",
        "_log",
        "_next_jobs",
        "claimed",
        "job_id",
        "progress",
        "run",
        "workspace",
    )

    def __init__(self, *, claimed: ClaimedJob, log: FilteringBoundLogger) -> None:
        self.claimed = claimed
        self.job_id: UUID = claimed.card.job_id
        self.run = claimed.run
        self.progress = Progress()
        self.workspace: Path | None = None
        self._ending = Ending()
        self._log = log
        self._next_jobs: list[dict[str, Any]] = []
        self._info: JobInfo | None = None
        self._job_log: FilteringBoundLogger | None = None

    @property
    def stop_reason(self) -> str | None:
        """Why the job was asked to stop, or None."""
        return self._ending.stop_reason

    @property
    def ending(self) -> str | None:
        """Why the job is to end now, or None."""
        return self._ending.reason

    @property
    def info(self) -> JobInfo:
        """The job as it was claimed. Built when first asked for: most jobs never do."""
        if self._info is None:
            self._info = info_of(self.claimed)
        return self._info

    @property
    def log(self) -> FilteringBoundLogger:
        """The job's own logger, bound when first asked for."""
        if self._job_log is None:
            card = self.claimed.card
            self._job_log = self._log.bind(
                job_id=str(self.job_id),
                run=self.run,
                tenant=card.tenant,
                queue=card.queue,
                job_class=card.job_class,
                correlation_id=card.correlation_id,
            )
        return self._job_log

    def add_next_jobs(self, jobs: tuple[JobInfo, ...]) -> None:
        """Keeps submissions for the success; they carry on this job's correlation where they have none of their own."""
        card = self.claimed.card
        carried = {"correlation_id": card.correlation_id, "traceparent": card.traceparent}
        inherited = {name: value for name, value in carried.items() if value is not None}
        self._next_jobs.extend([inherited | job.to_submission() for job in jobs])
