"""`pipeline jobs`: the jobs of a pipeline or of one of its stages, and how each ended."""

from typing import Annotated, Any
from uuid import UUID

import typer

from jobservice.cli.call import Call
from jobservice.cli.connecting import jobs_of
from jobservice.cli.exits import BadUsage
from jobservice.cli.jobs import StatusOption
from jobservice.cli.output import fields_of
from jobservice.sdk.pipeline import StageInfo

_COLUMNS = ("job_id", "stage", "status", "job_class", "attempt", "percent_completed", "reason")

StagePosition = Annotated[int | None, typer.Option("--stage", min=1, help="Only of the stage at this position.")]


async def list_stage_jobs(
    call: Call,
    *,
    pipeline_id: Annotated[UUID, typer.Argument(metavar="PIPELINE_ID", help="Pipeline id.")],
    stage: StagePosition = None,
    status: StatusOption = None,
    limit: Annotated[int, typer.Option(min=1, max=10_000, help="At most so many.")] = 50,
) -> None:
    """List the jobs of a pipeline in their order, and why each failed or was aborted."""
    rows: list[dict[str, Any]] = []
    async with jobs_of(call) as jobs:
        stages = await jobs.pipelines.stages(pipeline_id)
        for each in stages if stage is None else [stage_at(pipeline_id, stages, stage)]:
            if len(rows) < limit:
                page = await jobs.pipelines.stage_jobs(each.stage_id, status=status, limit=limit - len(rows))
                rows += [
                    fields_of(job) | {"stage": each.position, "reason": job.error_message or job.stop_reason}
                    for job in page.jobs
                ]
    call.output.rows(rows, _COLUMNS)


def stage_at(pipeline_id: UUID, stages: list[StageInfo], position: int) -> StageInfo:
    """The stage at a position. Raises BadUsage."""
    for stage in stages:
        if stage.position == position:
            return stage
    raise BadUsage(f"--stage {position}: pipeline {pipeline_id} has {len(stages)} stages")
