"""Carries out one command on pipelines or stages in one transaction."""

from functools import partial

import asyncpg

from jobservice.control.pipelines import (
    ChangePipelines,
    ChangeStages,
    OnAnyPipeline,
    OnAnyStage,
    SetPipelinePriority,
    StopPipelines,
    UpdatePipelineMetadata,
    UpdateStageMetadata,
)
from jobservice.domain.pipelines import PipelineVerb, StageVerb
from jobservice.workflow.pipelines import Pipelines, WorkflowResult


class PipelineActing:
    """The commands on the pipelines of one schema, as they came over the wire."""

    def __init__(self, *, schema: str) -> None:
        self._pipelines = Pipelines(schema=schema)

    async def apply(
        self, connection: asyncpg.Connection, command: OnAnyPipeline | OnAnyStage, *, tenant: str | None
    ) -> list[WorkflowResult]:
        """Apply `command` for `tenant` (None: an operator, for all); results in the order given.

        Where thousands of jobs are to be moved, daemons go on after it. Raises InvalidSubmission.
        """
        on_pipelines = partial(self._pipelines.command, connection, ids=command.ids, tenant=tenant)
        on_stages = partial(self._pipelines.command_stages, connection, ids=command.ids, tenant=tenant)
        match command:
            case ChangePipelines():
                return await on_pipelines(PipelineVerb(command.command.removesuffix("_pipeline")))
            case StopPipelines():
                return await on_pipelines(PipelineVerb.STOP, argument=command.reason)
            case SetPipelinePriority():
                return await on_pipelines(PipelineVerb.SET_PRIORITY, argument=command.priority)
            case UpdatePipelineMetadata():
                return await on_pipelines(PipelineVerb.UPDATE_METADATA, argument=command.user_metadata)
            case ChangeStages():
                return await on_stages(StageVerb(command.command.removesuffix("_stage")))
            case UpdateStageMetadata():
                return await on_stages(StageVerb.UPDATE_METADATA, argument=command.user_metadata)
