"""`tenant`: list tenants, pause and resume them, set their limits and weights."""

import asyncio
from typing import Annotated

import typer

from jobservice.cli.call import Call, command
from jobservice.cli.connecting import jobs_of
from jobservice.cli.exits import BadUsage, UnknownName, tell
from jobservice.cli.output import fields_of
from jobservice.client.service import JobInfoService
from jobservice.lifecycle.limits import ONE_AT_A_TIME

_LIMIT_COLUMNS = ("kind", "name", "max_running", "weight", "queued", "running")
_COLUMNS = ("tenant", "paused", "max_running", "rate", "weight", "pending", "queued", "running")
_DRAIN_LOOK = 0.5

TenantName = Annotated[str, typer.Argument(metavar="NAME", help="Tenant.")]
MaxRunning = Annotated[int | None, typer.Option(min=0, help="At most so many at once, over all daemons; exact.")]
NoMaxRunning = Annotated[bool, typer.Option("--no-max-running", help="Remove that limit.")]
Rate = Annotated[
    str | None, typer.Option(metavar="100/s|100/min|5/h|off", help="Start at most so many in that time; exact.")
]
Burst = Annotated[int | None, typer.Option(min=1, help="With --rate: at most so many right after each other.")]


def register(app: typer.Typer) -> None:
    """Add the commands."""
    group = typer.Typer(no_args_is_help=True, help="List, pause, resume and limit tenants.")
    app.add_typer(group, name="tenant")
    command(group, "list")(list_tenants)
    command(group, "pause")(pause)
    command(group, "resume")(resume)
    command(group, "limit")(limit)
    command(group, "limits")(limits)


async def list_tenants(call: Call) -> None:
    """List tenants that have jobs or settings."""
    async with jobs_of(call) as jobs:
        found = await jobs.operations.tenants()
    call.output.rows([fields_of(tenant) for tenant in found], _COLUMNS)


async def pause(
    call: Call,
    name: TenantName,
    drain: Annotated[bool, typer.Option("--drain", help="Wait until its running jobs have ended.")] = False,
) -> None:
    """Start no more jobs of a tenant; running ones go on."""
    async with jobs_of(call) as jobs:
        await _check_known(jobs, name)
        await jobs.pause_tenant(name)
        tell(f"tenant {name} is paused")
        if drain:
            await _until_drained(jobs, name)


async def resume(call: Call, name: TenantName) -> None:
    """Start jobs of a tenant again."""
    async with jobs_of(call) as jobs:
        await _check_known(jobs, name)
        await jobs.resume_tenant(name)
    tell(f"tenant {name} is resumed")


async def limit(
    call: Call,
    *,
    name: TenantName,
    max_running: MaxRunning = None,
    no_max_running: NoMaxRunning = False,
    weight: Annotated[float | None, typer.Option(min=0.001, max=1e6, help="Share against others; 1 = even.")] = None,
    queue: Annotated[str | None, typer.Option(help="Only on this queue.")] = None,
    key: Annotated[str | None, typer.Option(help="Only for jobs of this concurrency key; without a limit: 1.")] = None,
    rate: Rate = None,
    burst: Burst = None,
) -> None:
    """Set a tenant's limits and weight; a tenant that is not known is made known."""
    check_limit(max_running, no_max_running, weight, rate)
    if key is not None and (queue, weight, rate) != (None, None, None):
        raise BadUsage("a key has --max-running only, on all queues together")
    async with jobs_of(call) as jobs:
        if key is not None:
            await jobs.operations.limit_key(
                name, key, max_running=ONE_AT_A_TIME if max_running is None else max_running
            )
        else:
            await jobs.operations.limit_tenant(
                name,
                max_running=max_running,
                unlimited=no_max_running,
                weight=weight,
                queue=queue,
                rate=rate,
                burst=burst,
            )
    tell(f"limits of tenant {name} are set")


async def limits(call: Call, name: TenantName) -> None:
    """List what is set for a tenant on single queues, and its concurrency keys."""
    async with jobs_of(call) as jobs:
        await _check_known(jobs, name)
        found = await jobs.operations.tenant_limits(name)
    call.output.rows([fields_of(limit) for limit in found], _LIMIT_COLUMNS)


def check_limit(max_running: int | None, no_max_running: bool, *others: object) -> None:
    """Refuse a `limit` that says nothing, or two things at once."""
    if max_running is not None and no_max_running:
        raise BadUsage("--max-running and --no-max-running exclude each other")
    if max_running is None and not no_max_running and all(other is None for other in others):
        raise BadUsage("nothing to set: --help tells what can be set")


async def _check_known(jobs: JobInfoService, name: str) -> None:
    if not await jobs.operations.is_tenant(name):
        raise UnknownName(f"tenant {name} is not known: it has no jobs and no settings; `tenant limit` makes it known")


async def _until_drained(jobs: JobInfoService, name: str) -> None:
    while running := await jobs.operations.live_of(name):
        tell(f"{running} jobs of {name} still run")
        await asyncio.sleep(_DRAIN_LOOK)
