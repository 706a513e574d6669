"""`pipeline`: submit, list, show, draw pipelines, and what may be done to them."""

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal
from uuid import UUID

import typer

from jobservice.cli.call import Call, command
from jobservice.cli.connecting import jobs_of
from jobservice.cli.exits import Exit, tell
from jobservice.cli.following import follow
from jobservice.cli.jobs import OwnerOption, TenantOption
from jobservice.cli.output import fields_of
from jobservice.cli.pipeline_file import read_pipeline
from jobservice.cli.pipeline_graph import as_mermaid
from jobservice.cli.pipeline_growing import register_growing
from jobservice.cli.pipeline_jobs import list_stage_jobs
from jobservice.cli.pipeline_picture import as_svg
from jobservice.cli.pipeline_plan import plan_of
from jobservice.cli.pipeline_tree import PipelineTree
from jobservice.cli.pipeline_verbs import register_verbs
from jobservice.client.service import JobInfoService
from jobservice.domain.pipelines import PipelineStatus
from jobservice.sdk.pipeline import PipelineInfo

_COLUMNS = (
    "pipeline_id",
    "name",
    "status",
    "tenant",
    "priority",
    "percent_completed",
    "paused",
    "created_date",
    "reason",
)
_EXITS = {
    PipelineStatus.SUCCEEDED: Exit.OK,
    PipelineStatus.FAILED: Exit.FAILED,
    PipelineStatus.ABORTED: Exit.ABORTED,
}

PipelineId = Annotated[UUID, typer.Argument(metavar="PIPELINE_ID", help="Pipeline id.")]
Follow = Annotated[bool, typer.Option("--follow", help="Go on showing it until it has ended.")]


def register(app: typer.Typer) -> None:
    """Add the commands."""
    group = typer.Typer(no_args_is_help=True, help="Submit, watch, pause, stop and restart pipelines.")
    app.add_typer(group, name="pipeline")
    command(group, "submit")(submit)
    command(group, "list")(list_pipelines)
    command(group, "show")(show)
    command(group, "jobs")(list_stage_jobs)
    command(group, "graph")(graph)
    register_growing(group)
    register_verbs(group)


async def submit(
    call: Call,
    *,
    file: Annotated[Path, typer.Argument(metavar="FILE", help="YAML or JSON; - reads stdin.")],
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Draw the stages and have them checked; submit nothing.")
    ] = False,
    tenant: Annotated[str | None, typer.Option("--tenant", help="In the place of the file's.")] = None,
    pending: Annotated[bool, typer.Option("--pending", help="Hold it until `pipeline start`.")] = False,
    idempotency_key: Annotated[str | None, typer.Option("--idempotency-key", help="Same key, one pipeline.")] = None,
    wait: Annotated[bool, typer.Option("--wait", help="Wait for its end; the exit status tells it.")] = False,
    following: Follow = False,
) -> int | None:
    """Submit a pipeline with its stages and jobs, and print its id."""
    given = {"tenant": tenant, "status": "PENDING" if pending else None, "idempotency_key": idempotency_key}
    pipeline = read_pipeline(file) | {name: value for name, value in given.items() if value is not None}
    if dry_run:
        await _draw(call, pipeline)
        return None
    async with jobs_of(call) as jobs:
        created = await jobs.pipelines.create(pipeline)
        call.output.text(str(created.pipeline_id))
        if following:
            return await _follow(call, jobs, created.pipeline_id)
        if wait:
            return _EXITS[(await jobs.pipelines.wait(created.pipeline_id)).status]
    return None


async def list_pipelines(
    call: Call,
    *,
    tenant: TenantOption = None,
    name: Annotated[str | None, typer.Option("--name", help="Only of this name.")] = None,
    status: Annotated[
        list[PipelineStatus] | None, typer.Option("--status", case_sensitive=False, help="Repeatable.")
    ] = None,
    owner: OwnerOption = None,
    limit: Annotated[int, typer.Option(min=1, max=10_000, help="At most so many.")] = 50,
) -> None:
    """List pipelines, newest first."""
    async with jobs_of(call) as jobs:
        page = await jobs.pipelines.find(tenant=tenant, name=name, status=status, owner=owner, limit=limit)
    call.output.rows([fields_of(each) for each in page.pipelines], _COLUMNS)


async def show(call: Call, pipeline_id: PipelineId, *, following: Follow = False) -> int | None:
    """Show a pipeline as a tree: its stages, how far each is, and what it waits for."""
    async with jobs_of(call) as jobs:
        if following:
            return await _follow(call, jobs, pipeline_id)
        pipeline = await jobs.pipelines.get(pipeline_id, counted=True)
    if call.json:
        call.output.record(fields_of(pipeline))
    else:
        call.output.drawing(PipelineTree(pipeline))
    return None


async def graph(
    call: Call,
    pipeline_id: PipelineId,
    *,
    form: Annotated[
        Literal["mermaid", "svg"], typer.Option("--format", help="Text for a page, or a picture.")
    ] = "mermaid",
) -> None:
    """Draw a pipeline's stages as they stand, on stdout."""
    async with jobs_of(call) as jobs:
        pipeline = await jobs.pipelines.get(pipeline_id, counted=True)
    call.output.text(as_svg(pipeline) if form == "svg" else as_mermaid(pipeline))


async def _draw(call: Call, pipeline: Mapping[str, Any]) -> None:
    """What would be made of it, and whether the service would take it, where there is a database to ask."""
    plan = plan_of(pipeline)
    call.output.document(pipeline) if call.json else call.output.drawing(plan)
    if call.settings.database_url is None:
        tell("not checked by the service: that takes a database, and none is configured")
        return
    async with jobs_of(call) as jobs:
        await jobs.pipelines.check(pipeline)


async def _follow(call: Call, jobs: JobInfoService, pipeline_id: UUID) -> int:
    """The exit status tells how it ended."""
    pipeline: PipelineInfo = await follow(
        call,
        lambda: jobs.pipelines.get(pipeline_id, counted=True),
        draw=PipelineTree,
        plain=fields_of,
        ended=lambda seen: seen.status.final,
    )
    return _EXITS[pipeline.status]
