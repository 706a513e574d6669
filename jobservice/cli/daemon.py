"""`daemon`: runs one in the foreground, or several under a supervisor; the entry point of the container."""

import asyncio
import logging
import os
import sys
import threading
from pathlib import Path
from typing import Annotated, Any

import structlog
import typer

from jobservice import logs
from jobservice.cli.call import Call, command
from jobservice.config import Settings

log = structlog.get_logger(__name__)

THREADS_SECONDS = 3.0
"""How long threads that jobs left behind may take to end, once the daemon has left."""
LEAVE_SECONDS = 25.0
"""How long a daemon may take from the end of its last run to that of its process: its last events, its row, threads."""


def register(app: typer.Typer) -> None:
    """Add the command."""
    command(app, "daemon")(daemon)


def daemon(
    call: Call,
    *,
    queue: Annotated[list[str] | None, typer.Option("--queue", help="Serve this queue; repeatable.")] = None,
    capacity: Annotated[int | None, typer.Option(min=1, help="Jobs at once, in each process.")] = None,
    processes: Annotated[int | None, typer.Option(min=1, help="Worker processes, each a daemon of its own.")] = None,
    no_run: Annotated[bool, typer.Option("--no-run", help="Take submissions and commands, run no job.")] = False,
    no_maintenance: Annotated[
        bool, typer.Option("--no-maintenance", help="Leave clean-up, triggers and expiry to others.")
    ] = False,
) -> int:
    """Run a daemon. SIGTERM or Ctrl-C drains it; a second one hands its jobs back at once."""
    served = {"queues": queue, "processes": processes}
    given: dict[str, dict[str, Any]] = {"daemon": {name: value for name, value in served.items() if value}}
    if capacity is not None:
        given["pool"] = {"capacity": capacity}
    settings = call.settings_with(**given)
    logs.configure(settings.logs.level, settings.logs.format)
    if settings.daemon.processes > 1:
        return _supervise(settings, run=not no_run, maintenance=not no_maintenance, debug=call.debug)
    # Imported here: the other commands need none of a daemon's parts, and start faster without.
    import uvloop

    from jobservice.service import run_daemon

    async def life() -> None:
        await run_daemon(settings, run=not no_run, maintenance=not no_maintenance)
        end_soon()

    uvloop.run(life())
    return 0


def _supervise(settings: Settings, *, run: bool, maintenance: bool, debug: bool) -> int:
    """Workers are `daemon_worker`; they take their settings from here, so that all have the same, also much later."""
    from jobservice.supervision.supervisor import Supervisor

    # A worker looks for modules where this process does, and `-m` alone would look in the current directory first.
    here = [] if {"", str(Path.cwd())} & set(sys.path) else ["-P"]
    command = [sys.executable, *here, "-m", "jobservice.cli.daemon_worker", *(["--debug"] if debug else [])]
    given = settings.model_dump(mode="json", by_alias=True)
    hello = {"settings": given, "run": run, "maintenance": maintenance, "path": sys.path}

    async def life() -> int:
        supervisor = Supervisor(
            count=settings.daemon.processes,
            command=command,
            hello=hello,
            http_host=settings.daemon.http_host,
            http_port=settings.daemon.http_port,
            drain_timeout=settings.daemon.drain_timeout,
            leave_timeout=settings.pool.stop_grace + LEAVE_SECONDS,
        )
        return await supervisor.run()

    return asyncio.run(life())


def end_soon() -> None:
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
