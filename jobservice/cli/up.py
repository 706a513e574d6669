"""`up`: private servers and daemons, until Ctrl-C."""

from pathlib import Path
from typing import Annotated

import typer

from jobservice.cli.call import Call, command


def register(app: typer.Typer) -> None:
    """Add the command."""
    command(app, "up")(up)


def up(
    call: Call,
    daemons: Annotated[int, typer.Option("--daemons", min=1, max=32, help="So many daemons.")] = 1,
    no_daemon: Annotated[bool, typer.Option("--no-daemon", help="Servers only.")] = False,
    directory: Annotated[
        Path | None, typer.Option(help="Keep the servers' data here, for the next `up`; else it is removed.")
    ] = None,
) -> None:
    """Start a private PostgreSQL and RabbitMQ, apply the schema, run a daemon; Ctrl-C stops all."""
    # Imported here: no other command starts servers, and all start faster without.
    from jobservice.cli.private_installation import keep_up

    keep_up(call, daemons=0 if no_daemon else daemons, directory=directory)
