"""`schedule`: what is submitted at which dates."""

from datetime import datetime
from typing import Annotated, Any, Literal
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import typer

from jobservice.cli.call import Call, command
from jobservice.cli.connecting import jobs_of
from jobservice.cli.exits import BadUsage, tell
from jobservice.cli.output import fields_of
from jobservice.cli.values import duration, json_object, named_values, priority
from jobservice.domain.names import DEFAULT_TENANT
from jobservice.domain.schedules import CatchUp, Overlap
from jobservice.sdk.job_info import JobInfo
from jobservice.sdk.schedule import Schedule, ScheduleInfo

_COLUMNS = ("tenant", "name", "when", "time_zone", "next_fire_date", "last_fire_date", "last_status", "fired", "missed")
_OF_TROUBLE = (*_COLUMNS, "state")

Name = Annotated[str, typer.Argument(metavar="NAME", help="Schedule.")]
Tenant = Annotated[str, typer.Option(help="Whose it is, and whose its jobs are.")]
Pairs = list[str] | None
Text = str | None


def register(app: typer.Typer) -> None:
    """Add the commands."""
    group = typer.Typer(no_args_is_help=True, help="Submit jobs and pipelines by the clock.")
    app.add_typer(group, name="schedule")
    command(group, "list")(list_schedules)
    command(group, "show")(show)
    command(group, "add")(add)
    command(group, "pause")(pause)
    command(group, "resume")(resume)
    command(group, "remove")(remove)
    command(group, "run-now")(run_now)
    command(group, "next")(next_dates)


async def list_schedules(
    call: Call, tenant: Annotated[Text, typer.Option(help="Only those of this one.")] = None
) -> None:
    """List schedules: when they fire, when they did, and how many ticks were missed."""
    async with jobs_of(call) as jobs:
        found = await jobs.schedules.find(tenant=tenant)
    call.output.rows([_told(each, on_its_clock=not call.json) for each in found], _OF_TROUBLE)


async def show(call: Call, *, name: Name, tenant: Tenant = DEFAULT_TENANT) -> None:
    """Show everything of one schedule, and what keeps it from running."""
    async with jobs_of(call) as jobs:
        found = await jobs.schedules.get(name, tenant=tenant)
    call.output.record(_told(found, on_its_clock=not call.json))


async def add(
    call: Call,
    *,
    name: Name,
    job_class: Annotated[Text, typer.Argument(help="Registered name of the job class.")] = None,
    cron: Annotated[Text, typer.Option(metavar="EXPRESSION", help="Five fields, six with seconds, or @daily …")] = None,
    every: Annotated[Text, typer.Option(metavar="SECONDS|15m", help="Each so many seconds.")] = None,
    time_zone: Annotated[str, typer.Option(metavar="ZONE", help="Whose clock, such as Europe/Berlin.")] = "UTC",
    catch_up: Annotated[
        Literal["skip", "once", "all"], typer.Option(help="Ticks that nobody was there to fire.")
    ] = "once",
    catch_up_within: Annotated[str, typer.Option(metavar="SECONDS|1d", help="Older ones are missed.")] = "1d",
    overlap: Annotated[
        Literal["allow", "skip", "queue"], typer.Option(help="Ticks while the last one's job lives.")
    ] = "allow",
    parameter: Annotated[
        Pairs, typer.Option("-p", "--parameter", metavar="NAME=VALUE", help="As in `submit`; may hold {fire_date}.")
    ] = None,
    parameters: Annotated[
        Text, typer.Option(metavar="FILE|-", help="JSON object of parameters; -p wins over it.")
    ] = None,
    pipeline: Annotated[Text, typer.Option(metavar="FILE|-", help="JSON of a pipeline, instead of a job.")] = None,
    tenant: Tenant = DEFAULT_TENANT,
    queue: Annotated[Text, typer.Option()] = None,
    priority_text: Annotated[str, typer.Option("--priority", metavar="N", help="As in `submit`.")] = "0",
    owner: Annotated[Text, typer.Option()] = None,
    description: Annotated[Text, typer.Option()] = None,
    timeout: Annotated[Text, typer.Option(metavar="SECONDS|15m", help="Do not run longer than this.")] = None,
    max_attempts: Annotated[int | None, typer.Option(min=1)] = None,
    concurrency_key: Annotated[Text, typer.Option(help="Jobs of one key run one at a time.")] = None,
    correlation_id: Annotated[Text, typer.Option(help="Goes along into logs and events.")] = None,
    paused: Annotated[bool, typer.Option("--paused", help="Fire nothing until `schedule resume`.")] = False,
    replace: Annotated[bool, typer.Option("--replace", help="Change the one of this name, if there is one.")] = False,
) -> None:
    """Add a schedule, and print when it fires first."""
    given: dict[str, Any] = {
        "parameters": {**(json_object(parameters) if parameters else {}), **named_values(parameter or (), "-p")},
        "priority": priority(priority_text),
        "queue": queue,
        "owner": owner,
        "description": description,
        "timeout": duration(timeout, "--timeout") if timeout is not None else None,
        "max_attempts": max_attempts,
        "concurrency_key": concurrency_key,
        "correlation_id": correlation_id,
    }
    if (job_class is None) == (pipeline is None):
        raise BadUsage("give a job class or --pipeline")
    if pipeline is not None and any(value not in (None, {}, 0) for value in given.values()):
        raise BadUsage("with --pipeline, what its jobs are like stands in the file")
    schedule = Schedule(
        name,
        job=None if job_class is None else JobInfo(job_class, tenant=tenant, **given),
        pipeline=None if pipeline is None else json_object(pipeline),
        tenant=tenant,
        cron=cron,
        every=_whole(every, "--every") if every is not None else None,
        time_zone=time_zone,
        catch_up=CatchUp(catch_up),
        catch_up_within=_whole(catch_up_within, "--catch-up-within"),
        overlap=Overlap(overlap),
    )
    async with jobs_of(call) as jobs:
        added = await jobs.schedules.add(schedule, paused=paused, replace=replace)
    told = _told(added, on_its_clock=not call.json)
    call.output.record(told) if call.json else call.output.rows([told], ("name", "next_fire_date"))


async def pause(call: Call, *, name: Name, tenant: Tenant = DEFAULT_TENANT) -> None:
    """Fire nothing until `resume`; what would have fired meanwhile is not missed."""
    async with jobs_of(call) as jobs:
        await jobs.schedules.pause(name, tenant=tenant)
    tell(f"schedule {name} is paused")


async def resume(call: Call, *, name: Name, tenant: Tenant = DEFAULT_TENANT) -> None:
    """Fire again, from the next date on."""
    async with jobs_of(call) as jobs:
        await jobs.schedules.resume(name, tenant=tenant)
    tell(f"schedule {name} is resumed")


async def remove(call: Call, *, name: Name, tenant: Tenant = DEFAULT_TENANT) -> None:
    """Delete a schedule; its jobs stay, ticks that wait do not."""
    async with jobs_of(call) as jobs:
        waiting = await jobs.schedules.remove(name, tenant=tenant)
    tell(f"schedule {name} is removed" + (f", with {waiting} ticks that waited" if waiting else ""))


async def run_now(call: Call, *, name: Name, tenant: Tenant = DEFAULT_TENANT) -> None:
    """Submit a tick of this moment, beside those of its dates, and print the id of its job or pipeline."""
    async with jobs_of(call) as jobs:
        found = await jobs.schedules.run_now(name, tenant=tenant)
    if call.json:
        call.output.document({"id": found})
    elif found is not None:
        call.output.text(str(found))
    if found is None:
        tell(f"it waits for its turn: see `jobservice schedule next {name}`")


async def next_dates(
    call: Call,
    *,
    name: Name,
    count: Annotated[int, typer.Option(min=1, max=1000)] = 5,
    tenant: Tenant = DEFAULT_TENANT,
) -> None:
    """Print the next fire dates, in the schedule's time zone; before them those of ticks that wait for others."""
    async with jobs_of(call) as jobs:
        waiting = await jobs.schedules.waiting_ticks(name, tenant=tenant)
        dates = await jobs.schedules.next_dates(name, count, tenant=tenant)
    rows = [{"fire_date": each.fire_date.isoformat(), "waits_since": each.since.isoformat()} for each in waiting]
    rows += [{"fire_date": date.isoformat()} for date in dates]
    call.output.rows(rows, ("fire_date", "waits_since") if waiting else ("fire_date",))


def _told(schedule: ScheduleInfo, *, on_its_clock: bool) -> dict[str, Any]:
    """Its fields, and in words: when, and what state it is in. People see its fire dates as `next` prints them."""
    told = schedule.troubles or (["paused"] if schedule.paused else [])
    if schedule.waiting:
        told = [*told, f"{schedule.waiting:,} waiting since {schedule.waiting_since:%Y-%m-%d %H:%M:%S %Z}"]
    state = "; ".join(told)
    when = schedule.cron if schedule.cron is not None else f"every {schedule.every} s"
    fields = fields_of(schedule)
    if on_its_clock:
        fields |= {name: _on_clock(schedule.time_zone, fields[name]) for name in ("next_fire_date", "last_fire_date")}
    return {**fields, "when": when, "state": state}


def _on_clock(zone: str, date: datetime | None) -> str | None:
    try:
        return None if date is None else date.astimezone(ZoneInfo(zone)).isoformat(timespec="seconds")
    except (ZoneInfoNotFoundError, ValueError):  # one that this machine does not know
        return date.isoformat(timespec="seconds") if date is not None else None


def _whole(text: str, option: str) -> int:
    seconds = duration(text, option)
    if seconds != int(seconds):
        raise BadUsage(f"{option} {text}: whole seconds only")
    return int(seconds)
