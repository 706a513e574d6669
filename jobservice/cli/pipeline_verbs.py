"""The verbs of `pipeline`: each applied to each id that is given, or to a stage."""

from collections.abc import Awaitable, Callable
from typing import Annotated, Any
from uuid import UUID

import typer

from jobservice.cli.call import Body, Call, command
from jobservice.cli.connecting import jobs_of
from jobservice.cli.exits import exit_of, tell, worst
from jobservice.cli.pipeline_jobs import stage_at
from jobservice.cli.values import named_values, priority
from jobservice.client.pipelines import Pipelines
from jobservice.domain.errors import JobServiceError
from jobservice.workflow.pipelines import WorkflowResult

PipelineIds = Annotated[list[UUID], typer.Argument(metavar="PIPELINE_ID...", help="Pipeline ids; each is tried.")]
Target = Annotated[UUID, typer.Argument(metavar="PIPELINE_ID", help="Pipeline id.")]
StageOption = Annotated[int, typer.Option("--stage", min=1, help="Position of the stage.")]


def register_verbs(group: typer.Typer) -> None:
    """Add the commands."""
    verbs: dict[str, Body] = {
        "start": start,
        "pause": pause,
        "resume": resume,
        "stop": stop,
        "restart": restart,
        "seal": seal,
        "delete": delete,
        "release": release,
        "priority": set_priority,
        "metadata": metadata,
    }
    for name, verb in verbs.items():
        command(group, name)(verb)


async def start(call: Call, ids: PipelineIds) -> int:
    """Start pipelines that were created PENDING."""
    return await _each(call, ids, lambda pipelines, each: pipelines.start(each))


async def pause(call: Call, ids: PipelineIds) -> int:
    """Start nothing new of them; running jobs go on."""
    return await _each(call, ids, lambda pipelines, each: pipelines.pause(each))


async def resume(call: Call, ids: PipelineIds) -> int:
    """Go on with paused pipelines."""
    return await _each(call, ids, lambda pipelines, each: pipelines.resume(each))


async def stop(
    call: Call, ids: PipelineIds, *, reason: Annotated[str | None, typer.Option(help="Told with each job.")] = None
) -> int:
    """Stop pipelines: waiting jobs end ABORTED, running ones as soon as they can."""
    return await _each(call, ids, lambda pipelines, each: pipelines.stop(each, reason=reason))


async def restart(call: Call, ids: PipelineIds) -> int:
    """Run again what failed or was aborted, and go on from there."""
    return await _each(call, ids, lambda pipelines, each: pipelines.restart(each))


async def seal(call: Call, ids: PipelineIds) -> int:
    """Say that no more stages or jobs will come: open pipelines may finish."""
    return await _each(call, ids, lambda pipelines, each: pipelines.seal(each))


async def delete(call: Call, ids: PipelineIds) -> int:
    """Remove ended pipelines with their stages and jobs."""
    return await _each(call, ids, lambda pipelines, each: pipelines.delete(each), became="deleted")


async def release(call: Call, pipeline_id: Target, *, stage: StageOption) -> None:
    """Let a stage that is on hold open."""
    async with jobs_of(call) as jobs:
        released = stage_at(pipeline_id, await jobs.pipelines.stages(pipeline_id), stage)
        results = await jobs.pipelines.release(released.stage_id)
    tell_changed(call, results, f"stage {stage} ({released.name}) is released")


async def set_priority(
    call: Call, pipeline_id: Target, value: Annotated[str, typer.Argument(metavar="PRIORITY", help="Number or name.")]
) -> None:
    """Give a pipeline and its waiting jobs another priority."""
    async with jobs_of(call) as jobs:
        results = await jobs.pipelines.set_priority(pipeline_id, priority(value))
    tell_changed(call, results, f"pipeline {pipeline_id} has priority {value}")


async def metadata(
    call: Call,
    pipeline_id: Target,
    members: Annotated[list[str], typer.Argument(metavar="NAME=VALUE...", help="JSON, else text; null removes.")],
) -> None:
    """Merge members into a pipeline's metadata."""
    patch = named_values(members, "metadata")
    async with jobs_of(call) as jobs:
        results = await jobs.pipelines.update_metadata(pipeline_id, patch)
    tell_changed(call, results, f"metadata of pipeline {pipeline_id}: {', '.join(patch)}")


def tell_changed(call: Call, results: list[WorkflowResult], words: str) -> None:
    """What was changed: in words, or with --json as the other verbs say it."""
    if call.json:
        members = ("status", "accepted", "code")
        told = [{f"{each.kind}_id": each.id} | {name: getattr(each, name) for name in members} for each in results]
        call.output.document(told)
    else:
        tell(words)


async def _each(
    call: Call, ids: list[UUID], verb: Callable[[Pipelines, UUID], Awaitable[Any]], *, became: str | None = None
) -> int:
    """Each is tried, what became of it is said (None: its status); the worst exit status."""
    results: list[dict[str, Any]] = []
    codes: list[int] = []
    async with jobs_of(call) as jobs:
        for pipeline_id in ids:
            try:
                (result,) = await verb(jobs.pipelines, pipeline_id)
            except JobServiceError as error:
                tell(f"jobservice: {error}")
                codes.append(exit_of(error))
                results.append({"pipeline_id": pipeline_id, "accepted": False, "code": error.code})
            else:
                results.append({"pipeline_id": pipeline_id, "status": result.status, "accepted": True, "code": None})
    if call.json:
        call.output.document(results)
    else:
        for each in results:
            if each["accepted"]:
                call.output.text(f"{each['pipeline_id']}\t{became or each['status']}")
    return worst(codes)
