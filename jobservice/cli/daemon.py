"""`daemon`: runs one in the foreground; the entry point of the container."""

from typing import Annotated, Any

import typer

from jobservice import logs
from jobservice.cli.call import Call, command


def register(app: typer.Typer) -> None:
    """Add the command."""
    command(app, "daemon")(daemon)


def daemon(
    call: Call,
    queue: Annotated[list[str] | None, typer.Option("--queue", help="Serve this queue; repeatable.")] = None,
    capacity: Annotated[int | None, typer.Option(min=1, help="Jobs at once.")] = None,
    no_run: Annotated[bool, typer.Option("--no-run", help="Take submissions and commands, run no job.")] = False,
    no_maintenance: Annotated[
        bool, typer.Option("--no-maintenance", help="Leave clean-up, triggers and expiry to others.")
    ] = False,
) -> None:
    """Run a daemon. SIGTERM or Ctrl-C drains it; a second one hands its jobs back at once."""
    given: dict[str, dict[str, Any]] = {}
    if queue:
        given["daemon"] = {"queues": queue}
    if capacity is not None:
        given["pool"] = {"capacity": capacity}
    settings = call.settings_with(**given)
    logs.configure(settings.logs.level, settings.logs.format)
    # Imported here: the other commands need none of a daemon's parts, and start faster without.
    import uvloop

    from jobservice.service import run_daemon

    uvloop.run(run_daemon(settings, run=not no_run, maintenance=not no_maintenance))
