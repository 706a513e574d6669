"""`watch`: status changes as they happen, from RabbitMQ."""

import sys
from typing import Annotated
from uuid import UUID

import typer
from rich.console import Console
from rich.text import Text

from jobservice.broker.messages import JobEvent
from jobservice.cli.call import Call, command
from jobservice.cli.connecting import amqp_url_of, jobs_of
from jobservice.cli.exits import tell
from jobservice.cli.jobs import ClassOption, QueueOption, StatusOption, TenantOption
from jobservice.cli.output import coloured, fields_of, printable
from jobservice.client.service import JobInfoService

_JOBS_REMEMBERED = 100_000
"""Of so many jobs it knows what was shown: events are published at least once, and a viewer wants them once."""


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
    count: Annotated[int | None, typer.Option("--count", min=1, help="End after so many events.")] = None,
    until_final: Annotated[
        bool, typer.Option("--until-final", help="End when each --job has ended; without --job at the first end seen.")
    ] = False,
) -> None:
    """Show status changes live, until Ctrl-C."""
    amqp_url_of(call)
    wanted = set(job or ())
    waited_for = set(wanted)
    seen = 0
    last: dict[UUID, int] = {}
    async with jobs_of(call) as jobs:
        events = jobs.events(tenant=tenant, queue=queue, job_class=job_class, statuses=set(status or ()) or None)
        async with events:
            await _tell_what_is_unpublished(call, jobs, queue)
            tell("watching; Ctrl-C ends")
            if until_final and wanted:
                # What ended before the subscription began sends no event any more.
                waited_for -= await _ended(call, jobs, wanted)
                if not waited_for:
                    return
            async for event in events:
                if (wanted and event.job_id not in wanted) or event.sequence <= last.get(event.job_id, 0):
                    continue  # not asked for, or published twice
                last[event.job_id] = event.sequence
                if len(last) > _JOBS_REMEMBERED:
                    del last[next(iter(last))]
                _print(call, event)
                seen += 1
                if event.final:
                    waited_for.discard(event.job_id)
                if seen == count or (until_final and event.final and not waited_for):
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


def _print(call: Call, event: JobEvent) -> None:
    if call.json:
        call.output.line(fields_of(event))
        return
    reason = f"{event.error['type']}: {event.error['message']}" if event.error else ""
    words = [
        event.time.astimezone().strftime("%H:%M:%S.%f")[:-3],
        f"{event.status:9}",
        event.tenant,
        event.job_class,
        str(event.job_id),
        printable(reason),
    ]
    if not sys.stdout.isatty():
        call.output.text("\t".join(word.strip() for word in words).rstrip())
        return
    words[1:2] = []
    line = Text.assemble(
        words[0], " ", coloured(event.status).append(" " * (10 - len(event.status))), " ".join(words[1:])
    )
    Console(soft_wrap=True).print(line)
