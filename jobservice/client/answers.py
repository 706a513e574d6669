"""What the client answers besides JobInfo and PipelineInfo: pages, runs, and results of commands or their refusal."""

from dataclasses import dataclass
from datetime import datetime
from typing import Protocol, TypeVar
from uuid import UUID

from jobservice.domain.errors import JobServiceError
from jobservice.sdk.job_info import JobInfo
from jobservice.sdk.pipeline import PipelineInfo


class Result(Protocol):
    """What a command did to one thing."""

    def refusal(self, verb: str) -> JobServiceError | None:
        """Why nothing, if so."""


R = TypeVar("R", bound=Result)


def all_accepted(verb: str, results: list[R]) -> list[R]:
    """The results. Raises the first refusal."""
    for result in results:
        refusal = result.refusal(verb)
        if refusal is not None:
            raise refusal
    return results


@dataclass(frozen=True, slots=True, kw_only=True)
class Page:
    """Some jobs, newest first; `next` goes into `after` for the ones behind them, None at the end."""

    jobs: list[JobInfo]
    next: UUID | None


@dataclass(frozen=True, slots=True, kw_only=True)
class PipelinePage:
    """Some pipelines without their stages, newest first; `next` as of a Page."""

    pipelines: list[PipelineInfo]
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
