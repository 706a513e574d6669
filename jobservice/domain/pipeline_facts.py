"""A fact of a pipeline or stage: one change as `pipeline_outbox` keeps it, with all that its event tells."""

from dataclasses import dataclass
from datetime import datetime
from typing import Final, Literal, get_args
from uuid import UUID

from jobservice.domain.pipelines import PipelineStatus

PipelineKind = Literal["pipeline", "stage"]
"""What an event is about."""

PIPELINE_KINDS: Final = get_args(PipelineKind)


@dataclass(frozen=True, slots=True, kw_only=True)
class StageTold:
    """What only the fact of a stage has."""

    stage_id: UUID
    stage_name: str
    position: int
    job_class: str | None
    total: int
    succeeded: int
    failed: int
    aborted: int
    retried: int


@dataclass(frozen=True, slots=True, kw_only=True)
class PipelineFact:
    """One change of a pipeline, or of `stage`. `sequence` counts the changes of that one; the submission is 1.

    A stage that is RUNNING and was RUNNING tells its progress.
    """

    pipeline_id: UUID
    stage: StageTold | None
    tenant: str
    name: str
    status: PipelineStatus
    previous_status: PipelineStatus
    sequence: int
    time: datetime
    percent_completed: int
    reason: str | None
    owner: str | None
    description: str | None
    correlation_id: str | None
    traceparent: str | None

    @property
    def kind(self) -> PipelineKind:
        """What changed."""
        return "pipeline" if self.stage is None else "stage"

    @property
    def subject(self) -> UUID:
        """The id of what changed."""
        return self.pipeline_id if self.stage is None else self.stage.stage_id
