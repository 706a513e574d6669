"""`queue`: list queues, pause and resume them, set their limits."""

from typing import Annotated, Literal

import typer

from jobservice.cli.call import Call, command
from jobservice.cli.connecting import jobs_of
from jobservice.cli.exits import UnknownName, tell
from jobservice.cli.output import fields_of
from jobservice.cli.tenant import Burst, MaxRunning, NoMaxRunning, Rate, check_limit
from jobservice.cli.values import duration
from jobservice.client.operations import OFF
from jobservice.client.service import JobInfoService

_COLUMNS = ("queue", "paused", "max_running", "rate", "events", "aging", "daemons", "pending", "queued", "running")

QueueName = Annotated[str, typer.Argument(metavar="NAME", help="Queue.")]


def register(app: typer.Typer) -> None:
    """Add the commands."""
    group = typer.Typer(no_args_is_help=True, help="List, pause, resume and limit queues.")
    app.add_typer(group, name="queue")
    command(group, "list")(list_queues)
    command(group, "pause")(pause)
    command(group, "resume")(resume)
    command(group, "limit")(limit)


async def list_queues(call: Call) -> None:
    """List queues, who serves them, and what waits."""
    async with jobs_of(call) as jobs:
        found = await jobs.operations.queues()
    call.output.rows([fields_of(queue) for queue in found], _COLUMNS)


async def pause(call: Call, name: QueueName) -> None:
    """Start no more jobs of a queue; running ones go on."""
    async with jobs_of(call) as jobs:
        await _check_known(jobs, name)
        await jobs.operations.pause_queue(name)
    tell(f"queue {name} is paused")


async def resume(call: Call, name: QueueName) -> None:
    """Start jobs of a queue again."""
    async with jobs_of(call) as jobs:
        await _check_known(jobs, name)
        await jobs.operations.resume_queue(name)
    tell(f"queue {name} is resumed")


async def limit(
    call: Call,
    *,
    name: QueueName,
    max_running: MaxRunning = None,
    no_max_running: NoMaxRunning = False,
    rate: Rate = None,
    burst: Burst = None,
    events: Annotated[
        Literal["all", "final", "none"] | None, typer.Option(help="Which status changes are published.")
    ] = None,
    aging: Annotated[
        str | None, typer.Option(metavar="10m|off", help="Each time so long, old jobs rise to the next priority.")
    ] = None,
) -> None:
    """Set how many jobs of a queue run at once and start in a time, over all daemons, and what it publishes.

    Weights belong to tenants.
    """
    check_limit(max_running, no_max_running, rate, events, aging)
    period = None if aging is None else 0.0 if aging == OFF else duration(aging, "--aging")
    async with jobs_of(call) as jobs:
        await jobs.operations.limit_queue(
            name, max_running=max_running, unlimited=no_max_running, rate=rate, burst=burst, events=events, aging=period
        )
    tell(f"limits of queue {name} are set")


async def _check_known(jobs: JobInfoService, name: str) -> None:
    if not await jobs.operations.is_queue(name):
        raise UnknownName(
            f"queue {name} is not known: no daemon serves it and it has no jobs; `queue limit` makes it known"
        )
