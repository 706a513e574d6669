"""The program of a job process: `python -m jobservice.pool.job_process FD`. Runs one job after the other.

Each runs as in the daemon, in a Run of its own: prepared, on the event loop or on a thread, to its outcome. Start,
progress, log lines and the outcome go to the daemon over the socket FD; `end` comes from it. When the socket closes,
the daemon is gone or has done with this process, and it ends at once, whatever its job is doing.
"""

import asyncio
import inspect
import logging
import os
import signal
import socket
import sys
from dataclasses import replace
from importlib import import_module
from pathlib import Path
from typing import Any, cast
from uuid import UUID

import structlog
from structlog.typing import EventDict, FilteringBoundLogger, WrappedLogger

from jobservice.domain.outcomes import Outcome
from jobservice.pool.channel import Channel, ChannelClosed
from jobservice.pool.executors import AsyncioExecutor, ThreadExecutor
from jobservice.pool.outcome_values import claimed_from_value, outcome_to_value
from jobservice.pool.run import Run
from jobservice.pool.workspace import Workspaces
from jobservice.sdk.definition import JobDefinition
from jobservice.sdk.registry import Registry

PROGRESS_SECONDS = 0.1
"""How often progress that has changed is told."""


class _Reports:
    def __init__(self, channel: Channel) -> None:
        self._channel = channel
        self.outcome: Outcome | None = None

    def start(self, run: Run) -> None:
        self._channel.send({"started": True})

    def finish(self, run: Run, outcome: Outcome) -> None:
        self.outcome = outcome


class _GivenWorkspaces(Workspaces):
    """The daemon makes and removes workspaces: it is still there when this process is not."""

    def __init__(self, path: Path | None, log: FilteringBoundLogger) -> None:
        super().__init__(Path(), log)
        self._path = path

    def make(self, job_id: UUID, run: int) -> Path:
        assert self._path is not None
        return self._path

    def remove(self, job_id: UUID, run: int) -> None:
        return


class JobProcess:
    """One process's work: `serve` runs what the channel brings, one job at a time, until the channel closes."""

    def __init__(self, channel: Channel) -> None:
        self._channel = channel
        self._threads = ThreadExecutor(1)
        self._log = _log_over(channel)
        self._asked: asyncio.Queue[dict[str, Any]] = asyncio.Queue()
        self._run: Run | None = None
        self._ended_before: dict[str, str] = {}
        """Reasons by job of which `end` was read before its run was taken up."""

    async def serve(self) -> None:
        """Never returns."""
        reading = asyncio.create_task(self._read())
        while True:
            message = await self._asked.get()
            await self._execute(message)
            assert not reading.done()

    async def _read(self) -> None:
        try:
            while True:
                message = await self._channel.receive()
                if "run" in message:
                    self._asked.put_nowait(message)
                elif self._run is not None and message["job_id"] == str(self._run.job_id):
                    self._run.request_stop(message["end"])
                elif not self._asked.empty():
                    self._ended_before[message["job_id"]] = message["end"]
        finally:
            os._exit(0)  # the daemon is gone, or has done with this process; a job's threads may go on for ever

    async def _execute(self, message: dict[str, Any]) -> None:
        reports = _Reports(self._channel)
        run = self._run = self._run_of(message, reports)
        reason = self._ended_before.pop(str(run.job_id), None)
        if reason is not None:
            run.request_stop(reason)
        telling = asyncio.create_task(self._tell_progress(run))
        try:
            await run.execute()
        finally:
            self._run = None
            telling.cancel()
        self._progress_of(run)
        assert reports.outcome is not None
        self._channel.send({"ended": outcome_to_value(reports.outcome)})

    def _run_of(self, message: dict[str, Any], reports: _Reports) -> Run:
        job_class = _class_named(message["module"], message["class"])
        executor = "asyncio" if inspect.iscoroutinefunction(job_class.run) else "thread"
        workspace = message["workspace"]
        return Run(
            claimed=claimed_from_value(message["run"]),
            registry=Registry([replace(JobDefinition.of(job_class), executor=executor)]),
            executors={"asyncio": AsyncioExecutor(), "thread": self._threads},
            workspaces=_GivenWorkspaces(Path(workspace) if workspace else None, self._log),
            reports=reports,
            log=self._log,
            unknown_class=_never_unknown,
        )

    async def _tell_progress(self, run: Run) -> None:
        while True:
            await asyncio.sleep(PROGRESS_SECONDS)
            self._progress_of(run)

    def _progress_of(self, run: Run) -> None:
        changed = run.progress.take()
        if changed is not None:
            info = run.progress.info.told() if run.progress.info is not None else None
            self._channel.send({"progress": [changed.done, changed.total, changed.message], "info": info})


def _class_named(module: str, qualified: str) -> Any:
    found: Any = import_module(module)
    for name in qualified.split("."):
        found = getattr(found, name)
    return found


async def _never_unknown(run: Run) -> Outcome:
    raise LookupError(f"{run.claimed.card.job_class} is not the class that was asked for")


def _log_over(channel: Channel) -> FilteringBoundLogger:
    """A logger whose lines are sent as they are: the daemon adds what all of its lines have."""

    def send(logger: WrappedLogger, method: str, event: EventDict) -> EventDict:
        loop.call_soon_threadsafe(channel.send, {"log": method, **_told(event)})
        raise structlog.DropEvent

    loop = asyncio.get_running_loop()
    wrapped = structlog.wrap_logger(
        None,
        processors=[structlog.stdlib.PositionalArgumentsFormatter(), structlog.processors.format_exc_info, send],
        wrapper_class=structlog.make_filtering_bound_logger(logging.DEBUG),
    )
    return cast("FilteringBoundLogger", wrapped)


def _told(event: EventDict) -> dict[str, Any]:
    return {"event": str(event.pop("event", "")), "fields": {str(name): value for name, value in event.items()}}


def main(descriptor: int) -> None:
    """Serve until the daemon closes the socket."""

    async def serve() -> None:
        channel = await Channel.over(socket.socket(fileno=descriptor))
        try:
            hello = await channel.receive()
        except ChannelClosed:
            return  # the daemon is gone already
        sys.path[:] = hello["path"]
        await JobProcess(channel).serve()

    # A terminal's Ctrl-C reaches the whole group; the daemon decides what becomes of its jobs.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    asyncio.run(serve())


if __name__ == "__main__":
    main(int(sys.argv[1]))
