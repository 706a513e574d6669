"""Pipelines, and what is added to them, as they are written down. The rules are those of the SQL functions."""

from typing import Annotated, Any, Literal
from uuid import UUID

from pydantic import BaseModel, ConfigDict, Field

from jobservice.contract.submission import JobFields, ShortText, Submission, Text
from jobservice.control.members import Name, Priority, given, written
from jobservice.domain.pipelines import OnFailure
from jobservice.submission.bounds import JOBS_MAX, STAGES_MAX

_STRICT = ConfigDict(extra="forbid", use_attribute_docstrings=True)


class StageJob(JobFields):
    """A job of a stage. It inherits what it does not say, and its status is what the stage makes of it."""

    job_class: Name | None = None
    """That of the stage where none is given; one of the two is required."""
    status: None = None


class StageSubmission(BaseModel):
    """A stage to be stored; its jobs run in parallel. A member that is null is as if it were not there."""

    model_config = _STRICT | written(
        {
            "if": given("allowed_failures"),
            "then": {"required": ["on_failure"], "properties": {"on_failure": {"const": "continue"}}},
        },
        {"if": {"not": given("job_class")}, "then": {"properties": {"jobs": {"items": given("job_class")}}}},
    )

    name: Name | None = None
    """`stage-<position>` where none is given."""
    job_class: Name | None = None
    """For those of its jobs that name none."""
    data: dict[str, Any] | None = None
    """For all its jobs; never changes. The same limits as for `parameters` of a job."""
    user_metadata: dict[str, Any] | None = None
    """May be merged into at any time."""
    hold: bool | None = None
    """It does not open before the command `release_stage`."""
    open: bool | None = None
    """More jobs will come: it cannot finish before it is sealed."""
    on_failure: OnFailure | None = None
    """`finish_stage` where none is given."""
    allowed_failures: Annotated[float, Field(ge=0, le=1)] | None = None
    """A share of its jobs, for `continue`; 1 where none is given."""
    max_attempts: Annotated[int, Field(ge=1, le=1_000_000)] | None = None
    """Of those of its jobs that say nothing else; 3 where none is given."""
    idempotency_key: Annotated[Text, Field(min_length=1, max_length=512)] | None = None
    """Added twice to a pipeline it is there once. Over AMQP the message id serves where none is given."""
    jobs: Annotated[list[StageJob], Field(max_length=JOBS_MAX)] | None = None


class PipelineFields(BaseModel):
    """A pipeline to be stored, with its stages in their order. A member that is null is as if it were not there."""

    model_config = _STRICT

    name: Name
    """A word of the routing key of its events."""
    tenant: Name | None = None
    """Must be that of the routing key, where it is given."""
    queue: Name | None = None
    """Inherited by its jobs, as are priority and owner; `default` where none is given."""
    priority: Priority | None = None
    owner: ShortText | None = None
    description: Annotated[Text, Field(max_length=10_000)] | None = None
    correlation_id: ShortText | None = None
    traceparent: ShortText | None = None
    data: dict[str, Any] | None = None
    """For all its jobs; never changes. The same limits as for `parameters` of a job."""
    user_metadata: dict[str, Any] | None = None
    """May be merged into at any time."""
    status: Literal["PENDING", "QUEUED"] | None = None
    """QUEUED where none is given: it starts. PENDING: it waits for the command `start_pipeline`."""
    open: bool | None = None
    """More stages will come: it cannot finish before it is sealed."""
    idempotency_key: Annotated[Text, Field(min_length=1, max_length=512)] | None = None
    """The same key of a tenant twice makes one pipeline. Over AMQP the message id serves where none is given."""
    stages: Annotated[list[StageSubmission], Field(max_length=STAGES_MAX)] | None = None
    """All its stages together have at most 100,000 jobs."""


class PipelineSubmission(BaseModel):
    """A pipeline with all its stages and jobs, stored as a whole or refused as a whole."""

    model_config = _STRICT

    pipeline: PipelineFields


class StagesAdded(BaseModel):
    """Stages to be added behind those that a pipeline has."""

    model_config = _STRICT

    pipeline_id: UUID
    stages: Annotated[list[StageSubmission], Field(max_length=STAGES_MAX)]


class JobsAdded(BaseModel):
    """Jobs to be added to a stage that has not ended."""

    model_config = _STRICT

    stage_id: UUID
    jobs: Annotated[list[StageJob], Field(max_length=JOBS_MAX)]


AnySubmission = (
    Submission | Annotated[list[Submission], Field(max_length=JOBS_MAX)] | PipelineSubmission | StagesAdded | JobsAdded
)
"""One job; a batch of jobs, stored or refused as a whole; a pipeline; or what is added to one."""
