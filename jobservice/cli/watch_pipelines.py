"""`watch --pipelines`: changes of pipelines and stages as they happen, from RabbitMQ."""

from collections.abc import Sequence
from uuid import UUID

from jobservice.broker.pipeline_messages import PipelineEvent
from jobservice.cli.call import Call
from jobservice.cli.connecting import jobs_of
from jobservice.cli.exits import BadUsage, tell
from jobservice.cli.watching import Shown
from jobservice.client.service import JobInfoService
from jobservice.domain.pipelines import PipelineStatus
from jobservice.domain.states import JobStatus


async def watch_pipelines(
    call: Call,
    *,
    tenant: str | None,
    pipelines: Sequence[str],
    statuses: Sequence[JobStatus],
    count: int | None,
    until_final: bool,
) -> None:
    """Show them until enough are seen, or the pipelines asked for have ended."""
    ids, names = _ids_and_names(pipelines)
    waited_for = set(ids)
    shown = Shown(call)
    async with jobs_of(call) as jobs:
        events = jobs.pipelines.events(
            tenant=tenant,
            name=next(iter(names)) if len(names) == 1 and not ids else None,
            statuses={_of_pipelines(status) for status in statuses} or None,
        )
        async with events:
            tell("watching; Ctrl-C ends")
            if until_final and ids:
                # What ended before the subscription began sends no event any more.
                waited_for -= await _ended(call, jobs, ids)
                if not waited_for and not names:
                    return
            async for event in events:
                if pipelines and event.pipeline_id not in ids and event.name not in names:
                    continue
                if not shown.show(event, event.subject, _words(event)):
                    continue
                ends = event.final and event.kind == "pipeline"
                if ends:
                    waited_for.discard(event.pipeline_id)
                if shown.count == count or (until_final and ends and not waited_for):
                    return


def _ids_and_names(pipelines: Sequence[str]) -> tuple[set[UUID], set[str]]:
    ids, names = set(), set()
    for each in pipelines:
        try:
            ids.add(UUID(each))
        except ValueError:
            names.add(each)
    return ids, names


def _of_pipelines(status: JobStatus) -> PipelineStatus:
    try:
        return PipelineStatus(status.value)
    except ValueError:
        raise BadUsage(f"no pipeline and no stage is ever {status}") from None


async def _ended(call: Call, jobs: JobInfoService, ids: set[UUID]) -> set[UUID]:
    if call.settings.database_url is None:
        return set()
    ended = set()
    for pipeline_id in ids:
        pipeline = await jobs.pipelines.get(pipeline_id)
        if pipeline.status.final:
            tell(f"{pipeline_id} is {pipeline.status} already")
            ended.add(pipeline_id)
    return ended


def _words(event: PipelineEvent) -> list[str]:
    """What a line says behind the time and the status."""
    what = event.name if event.kind == "pipeline" else f"{event.name}/{event.position} {event.stage_name}"
    done = f"{event.percent_completed} %" if event.total is None else f"{event.succeeded}/{event.total}"
    return [event.tenant, what, str(event.subject), done, event.reason or ""]
