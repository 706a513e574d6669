"""`daemon`: runs one in the foreground; the entry point of the container."""

import logging
import os
import threading
from typing import Annotated, Any

import structlog
import typer

from jobservice import logs
from jobservice.cli.call import Call, command

log = structlog.get_logger(__name__)

THREADS_SECONDS = 3.0
"""How long threads that jobs left behind may take to end, once the daemon has left."""


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

    async def life() -> None:
        await run_daemon(settings, run=not no_run, maintenance=not no_maintenance)
        _end_soon()

    uvloop.run(life())


def _end_soon() -> None:
    """The daemon has left; a thread that a job left behind would keep its process for ever."""

    def end() -> None:
        left = [thread.name for thread in threading.enumerate() if not thread.daemon and thread is not main]
        log.warning("daemon.leave_threads", threads=left, seconds=THREADS_SECONDS)
        logging.shutdown()
        os._exit(0)

    main = threading.main_thread()
    timer = threading.Timer(THREADS_SECONDS, end)
    timer.daemon = True
    timer.start()
