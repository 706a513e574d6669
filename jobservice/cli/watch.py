"""`watch`: status changes as they happen, from RabbitMQ."""

from typing import Annotated
from uuid import UUID

import typer

from jobservice.broker.messages import JobEvent
from jobservice.cli.call import Call, command
from jobservice.cli.connecting import amqp_url_of, jobs_of
from jobservice.cli.exits import BadUsage, tell
from jobservice.cli.jobs import ClassOption, QueueOption, StatusOption, TenantOption
from jobservice.cli.watch_pipelines import watch_pipelines
from jobservice.cli.watching import Shown
from jobservice.client.service import JobInfoService
from jobservice.domain.states import JobStatus


def register(app: typer.Typer) -> None:
    """Add the command."""
    command(app, "watch")(watch)


async def watch(
    call: Call,
    *,
    tenant: TenantOption = None,
    queue: QueueOption = None,
    job_class: ClassOption = None,
    status: StatusOption = None,
    job: Annotated[list[UUID] | None, typer.Option("--job", help="Only this job's; repeatable.")] = None,
    pipelines: Annotated[
        bool, typer.Option("--pipelines", help="Those of pipelines and stages in the place of those of jobs.")
    ] = False,
    pipeline: Annotated[
        list[str] | None,
        typer.Option("--pipeline", metavar="NAME|ID", help="Only this pipeline's and its stages'; repeatable."),
    ] = None,
    count: Annotated[int | None, typer.Option("--count", min=1, help="End after so many events.")] = None,
    until_final: Annotated[
        bool,
        typer.Option(
            "--until-final", help="End when each --job or --pipeline has ended; without one at the first end."
        ),
    ] = False,
) -> None:
    """Show status changes live, until Ctrl-C."""
    amqp_url_of(call)
    if pipelines or pipeline:
        if queue or job_class or job:
            raise BadUsage("--queue, --class and --job do not go with pipelines: their jobs are watched without them")
        await watch_pipelines(
            call,
            tenant=tenant,
            pipelines=pipeline or (),
            statuses=status or (),
            count=count,
            until_final=until_final,
        )
        return
    await _watch_jobs(
        call,
        tenant=tenant,
        queue=queue,
        job_class=job_class,
        statuses=set(status or ()) or None,
        wanted=set(job or ()),
        count=count,
        until_final=until_final,
    )


async def _watch_jobs(
    call: Call,
    *,
    tenant: str | None,
    queue: str | None,
    job_class: str | None,
    statuses: set[JobStatus] | None,
    wanted: set[UUID],
    count: int | None,
    until_final: bool,
) -> None:
    waited_for = set(wanted)
    shown = Shown(call)
    async with jobs_of(call) as jobs:
        events = jobs.events(tenant=tenant, queue=queue, job_class=job_class, statuses=statuses)
        async with events:
            await _tell_what_is_unpublished(call, jobs, queue)
            tell("watching; Ctrl-C ends")
            if until_final and wanted:
                # What ended before the subscription began sends no event any more.
                waited_for -= await _ended(call, jobs, wanted)
                if not waited_for:
                    return
            async for event in events:
                if wanted and event.job_id not in wanted:
                    continue
                if not shown.show(event, event.job_id, _words(event)):
                    continue
                if event.final:
                    waited_for.discard(event.job_id)
                if shown.count == count or (until_final and event.final and not waited_for):
                    return


async def _tell_what_is_unpublished(call: Call, jobs: JobInfoService, queue: str | None) -> None:
    """Somebody may wait for what never comes; without a database nobody knows."""
    if call.settings.database_url is None:
        return
    for name, mode in (await jobs.operations.event_modes()).items():
        if mode != "all" and queue in (None, name):
            tell(f"queue {name} publishes {'no events' if mode == 'none' else 'ends only'}")


async def _ended(call: Call, jobs: JobInfoService, wanted: set[UUID]) -> set[UUID]:
    if call.settings.database_url is None:
        return set()
    ended = set()
    for job_id in wanted:
        job = await jobs.get(job_id)
        if job.status.final:
            tell(f"{job_id} is {job.status} already")
            ended.add(job_id)
    return ended


def _words(event: JobEvent) -> list[str]:
    """What a line says behind the time and the status."""
    reason = f"{event.error['type']}: {event.error['message']}" if event.error else ""
    return [event.tenant, event.job_class, str(event.job_id), reason]
