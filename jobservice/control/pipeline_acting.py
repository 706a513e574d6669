"""Carries out one command on pipelines or stages in one transaction."""

from collections.abc import Sequence
from functools import partial
from typing import Any, Final
from uuid import UUID

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
from jobservice.domain.errors import InvalidSubmission
from jobservice.domain.pipelines import PipelineVerb, StageVerb
from jobservice.workflow.pipelines import Pipelines, WorkflowResult

JOBS_MAX = 100_000
"""Jobs of all pipelines in one command that moves all of them in its transaction: a daemon gives it 30 seconds."""
_MOVE_ALL: Final = frozenset({PipelineVerb.RESTART, PipelineVerb.DELETE})


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
        on_pipelines = partial(self._on_pipelines, connection, ids=command.ids, tenant=tenant)
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

    async def _on_pipelines(
        self,
        connection: asyncpg.Connection,
        verb: PipelineVerb,
        *,
        ids: Sequence[UUID],
        tenant: str | None,
        argument: Any = None,
    ) -> list[WorkflowResult]:
        if verb in _MOVE_ALL and (jobs := await self._pipelines.jobs_of(connection, ids, tenant=tenant)) > JOBS_MAX:
            raise InvalidSubmission(
                f"{verb} of pipelines with {jobs:,} jobs: by message at most {JOBS_MAX:,}; use the client or SQL",
                code="too_large",
            )
        return await self._pipelines.command(connection, verb, ids, argument=argument, tenant=tenant)
