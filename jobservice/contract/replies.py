"""What the service answers to a submission or a command that has a `reply_to`, and what it adds to one that it refused.

Members may be added by later versions: who reads an answer ignores what it does not know.
"""

from datetime import datetime
from typing import Annotated, NotRequired
from uuid import UUID

from pydantic import ConfigDict, Field, with_config
from typing_extensions import TypedDict

from jobservice.broker.settlement import REASON_MAX
from jobservice.domain.errors import ErrorCode
from jobservice.domain.pipelines import PipelineStatus
from jobservice.domain.states import JobStatus

told = with_config(ConfigDict(use_attribute_docstrings=True))


@told
class Stored(TypedDict):
    """A submission was stored; this comes after the commit."""

    job_ids: list[UUID]
    """In the order of the batch. One that an idempotency key named already is that of the older job."""
    unpublished_queues: NotRequired[list[str]]
    """Queues that publish no events now, where there are any: who waits for a job of one of them must look."""


@told
class PipelineStored(TypedDict):
    """A pipeline was stored; this comes after the commit."""

    pipeline_id: UUID
    created: bool
    """False where an idempotency key named a pipeline that was there."""
    stage_ids: list[UUID]
    """All its stages, in their order."""


@told
class StagesStored(TypedDict):
    """Stages were added to a pipeline; this comes after the commit. For jobs that were added: as for any jobs."""

    stage_ids: list[UUID]
    """Those that were added, in their order."""
    positions: list[int]
    """Where they stand in the pipeline, from 1."""


@told
class JobResult(TypedDict):
    """What a command did to one job."""

    job_id: UUID
    status: JobStatus | None
    """The job's status afterwards; null: there is no such job."""
    accepted: bool
    code: ErrorCode | None
    """Why it was not accepted."""
    reason: NotRequired[str]
    """More about that, for people."""
    new_job_id: NotRequired[UUID]
    """What `rerun` made."""


@told
class PipelineResult(TypedDict):
    """What a command did to one pipeline."""

    pipeline_id: UUID
    status: PipelineStatus | None
    """The pipeline's status afterwards; null: there is no such pipeline."""
    accepted: bool
    code: ErrorCode | None
    """Why it was not accepted."""
    reason: NotRequired[str]
    """More about that, for people."""


@told
class StageResult(TypedDict):
    """What a command did to one stage."""

    stage_id: UUID
    status: PipelineStatus | None
    """The stage's status afterwards; null: there is no such stage."""
    accepted: bool
    code: ErrorCode | None
    """Why it was not accepted."""
    reason: NotRequired[str]
    """More about that, for people."""


@told
class ScheduleResult(TypedDict):
    """What a command did to one schedule."""

    schedule: str
    paused: bool | None
    """Whether it is now; null: there is no such schedule now."""
    next_fire_date: datetime | None
    """When it fires next; null: never, or it is paused, or there is none now."""
    accepted: bool
    code: ErrorCode | None
    """Why it was not accepted."""
    reason: NotRequired[str]
    """More about that, for people."""
    new_job_id: NotRequired[UUID]
    """What `run_schedule` submitted."""
    new_pipeline_id: NotRequired[UUID]
    """The same, where the schedule submits pipelines; not there while the tick waits for others."""
    waiting: NotRequired[Annotated[int, Field(ge=1)]]
    """How many of its ticks wait for the pipeline of the one before."""


@told
class Done(TypedDict):
    """A command was carried out; this comes after the commit."""

    results: list[JobResult | PipelineResult | StageResult | ScheduleResult]
    """One for each job, pipeline, stage or schedule that it was about, in the order given; none for other commands."""
    omitted: NotRequired[Annotated[int, Field(ge=1)]]
    """How many results of a selection were left out."""


@told
class ErrorDetails(TypedDict):
    """What is to blame, where one thing is."""

    field: NotRequired[str]
    index: NotRequired[Annotated[int, Field(ge=0)]]
    """The member of the batch, from 0."""
    status: NotRequired[str]
    """That of the pipeline or stage to which nothing can be added."""


@told
class Error(TypedDict):
    """Why a message was refused."""

    code: ErrorCode
    message: str
    """For people."""
    details: ErrorDetails


@told
class Refused(TypedDict):
    """Nothing of the message was done. It is kept, untouched, in the queue of rejected messages."""

    error: Error


AnyReply = Stored | PipelineStored | StagesStored | Done | Refused

RejectedHeaders = TypedDict(
    "RejectedHeaders",
    {
        "jobservice-error": ErrorCode,
        "jobservice-reason": Annotated[str, Field(max_length=REASON_MAX)],
        "jobservice-source": Annotated[str, Field(description="The queue that it came to.")],
        "jobservice-routing-key": str,
    },
)
