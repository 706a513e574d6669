"""The commands on pipelines and on stages."""

from typing import Annotated, Any, Final, Literal
from uuid import UUID

from pydantic import Field, model_validator

from jobservice.control.members import Command, Priority, ShortText, given, written, wrong

PIPELINES_MAX: Final = 1_000
"""Ids in one command: it is one transaction, and each pipeline that it names is held to its end."""

_NAMED: Final = {"oneOf": [given("pipeline_id"), given("pipeline_ids")]}
_STAGES_NAMED: Final = {"oneOf": [given("stage_id"), given("stage_ids")]}


class OnPipelines(Command):
    """A command on pipelines that are named."""

    model_config = written(_NAMED)

    pipeline_id: UUID | None = None
    pipeline_ids: Annotated[list[UUID], Field(max_length=PIPELINES_MAX)] | None = None

    @property
    def ids(self) -> list[UUID]:
        """The pipelines named."""
        return [self.pipeline_id] if self.pipeline_id is not None else self.pipeline_ids or []

    @model_validator(mode="after")
    def _named_once(self) -> "OnPipelines":
        if (self.pipeline_id is None) == (self.pipeline_ids is None):
            raise wrong("pipeline_id", "either pipeline_id or pipeline_ids is required")
        return self


class ChangePipelines(OnPipelines):
    """Start, pause, resume, seal, restart or delete pipelines."""

    command: Literal[
        "start_pipeline",
        "pause_pipeline",
        "resume_pipeline",
        "seal_pipeline",
        "restart_pipeline",
        "delete_pipeline",
    ]


class StopPipelines(OnPipelines):
    """Abort what waits and stop what runs."""

    command: Literal["stop_pipeline"]
    reason: ShortText | None = None


class SetPipelinePriority(OnPipelines):
    """A new priority for pipelines and their waiting jobs."""

    command: Literal["set_pipeline_priority"]
    priority: Priority


class UpdatePipelineMetadata(OnPipelines):
    """Merge into `user_metadata`, member by member; null removes one."""

    command: Literal["update_pipeline_metadata"]
    user_metadata: dict[str, Any]


class OnStages(Command):
    """A command on stages that are named."""

    model_config = written(_STAGES_NAMED)

    stage_id: UUID | None = None
    stage_ids: Annotated[list[UUID], Field(max_length=PIPELINES_MAX)] | None = None

    @property
    def ids(self) -> list[UUID]:
        """The stages named."""
        return [self.stage_id] if self.stage_id is not None else self.stage_ids or []

    @model_validator(mode="after")
    def _named_once(self) -> "OnStages":
        if (self.stage_id is None) == (self.stage_ids is None):
            raise wrong("stage_id", "either stage_id or stage_ids is required")
        return self


class ChangeStages(OnStages):
    """Release stages on hold, or seal open ones."""

    command: Literal["release_stage", "seal_stage"]


class UpdateStageMetadata(OnStages):
    """Merge into `user_metadata`, member by member; null removes one."""

    command: Literal["update_stage_metadata"]
    user_metadata: dict[str, Any]


OnAnyPipeline = ChangePipelines | StopPipelines | SetPipelinePriority | UpdatePipelineMetadata
OnAnyStage = ChangeStages | UpdateStageMetadata
