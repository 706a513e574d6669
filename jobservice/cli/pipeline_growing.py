"""`pipeline add-stage`, `add-jobs` and `seal-stage`: a pipeline that is built step by step."""

from pathlib import Path
from typing import Annotated
from uuid import UUID

import typer

from jobservice.cli.call import Call, command
from jobservice.cli.connecting import jobs_of
from jobservice.cli.pipeline_file import read_yaml
from jobservice.cli.pipeline_jobs import stage_at
from jobservice.cli.pipeline_verbs import StageOption, Target, tell_changed

StageFile = Annotated[Path, typer.Argument(metavar="FILE", help="A stage, as in a pipeline's file; - reads stdin.")]
JobsFile = Annotated[Path, typer.Argument(metavar="FILE", help="A list of jobs, as in a stage; - reads stdin.")]


def register_growing(group: typer.Typer) -> None:
    """Add the commands."""
    command(group, "add-stage")(add_stage)
    command(group, "add-jobs")(add_jobs)
    command(group, "seal-stage")(seal_stage)


async def add_stage(call: Call, pipeline_id: Target, file: StageFile) -> None:
    """Add a stage behind those there are, and print its position and id."""
    stage = read_yaml(file)
    async with jobs_of(call) as jobs:
        added = await jobs.pipelines.add_stage(pipeline_id, stage)
    if call.json:
        call.output.document({"stage_id": added.stage_id, "position": added.position})
    else:
        call.output.text(f"{added.position}\t{added.stage_id}")


async def add_jobs(call: Call, pipeline_id: Target, file: JobsFile, *, stage: StageOption) -> None:
    """Add jobs to a stage that has not ended, and print their ids."""
    given = read_yaml(file)
    async with jobs_of(call) as jobs:
        to = stage_at(pipeline_id, await jobs.pipelines.stages(pipeline_id), stage)
        ids: list[UUID] = await jobs.pipelines.add_jobs(to.stage_id, given)
    if call.json:
        call.output.document({"job_ids": ids})
        return
    for job_id in ids:
        call.output.text(str(job_id))


async def seal_stage(call: Call, pipeline_id: Target, *, stage: StageOption) -> None:
    """Say that no more jobs will come for an open stage: it may finish."""
    async with jobs_of(call) as jobs:
        sealed = stage_at(pipeline_id, await jobs.pipelines.stages(pipeline_id), stage)
        results = await jobs.pipelines.seal_stage(sealed.stage_id)
    tell_changed(call, results, f"stage {stage} ({sealed.name}) is sealed")
