"""`daemons`: who runs what."""

from typing import Annotated

import typer

from jobservice.cli.call import Call, command
from jobservice.cli.connecting import jobs_of
from jobservice.cli.output import fields_of

_COLUMNS = ("id", "state", "host", "pid", "running", "stuck", "capacity", "silent_for", "queues")


def register(app: typer.Typer) -> None:
    """Add the command."""
    command(app, "daemons")(daemons)


async def daemons(
    call: Call,
    ended: Annotated[bool, typer.Option("--all", help="Those that stopped or were lost, too.")] = False,
) -> None:
    """List daemons: slots in use, seconds since the last heartbeat, queues. With --json all that is known of them."""
    async with jobs_of(call) as jobs:
        found = await jobs.operations.daemons(ended=ended)
    call.output.rows([fields_of(daemon) for daemon in found], _COLUMNS)
