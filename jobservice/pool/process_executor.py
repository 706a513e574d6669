"""Runs jobs in processes: spawned when first needed, used again, killed when a job does not end.

For work that would block the interpreter, take too much memory, or break it. One process runs one job at a time.
"""

import asyncio
import contextlib
import os
import signal
import socket
import sys
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from jobservice.domain.errors import JobAborted, JobError
from jobservice.pool.channel import Channel, ChannelClosed
from jobservice.pool.executors import EndedElsewhere
from jobservice.pool.outcome_values import claimed_to_value, outcome_from_value
from jobservice.sdk.definition import JobDefinition

_LEVELS = frozenset({"debug", "info", "warning", "error", "critical"})


class JobProcessDied(JobError):
    """The process that ran the job ended in the middle: killed, crashed, or by an exit of the job's own."""


@dataclass(slots=True)
class RemoteJob:
    """One job on its way through a process. `context` is its Run: the executor only needs what a context has."""

    definition: JobDefinition
    context: Any
    process: "_JobProcess | None" = None
    waiter: asyncio.Future[None] | None = None


class ProcessExecutor:
    """At most `size` jobs at once, each in a process of its own."""

    cancellable = False
    checkpoints = False
    stuck = 0

    def __init__(self, size: int) -> None:
        self._size = size
        self._idle: list[_JobProcess] = []
        self._busy: set[_JobProcess] = set()
        self._starting = 0
        self._waiting: deque[asyncio.Future[None]] = deque()

    @property
    def pids(self) -> list[int]:
        """The processes that are there."""
        return [process.pid for process in (*self._idle, *self._busy)]

    def make(self, definition: JobDefinition, context: Any) -> RemoteJob:
        """The job is made in the process."""
        return RemoteJob(definition, context)

    def has_place(self, job: RemoteJob) -> bool:
        """Whether a process has been told of it."""
        return job.process is not None

    async def begin(self, job: RemoteJob) -> None:
        """Returns when the process has prepared the job and is about to run it.

        Raises EndedElsewhere where the preparation failed, JobProcessDied, and OSError where no process can be had.
        """
        job.process = await self._take(job)
        with self._let_go_on_error(job):
            job.process.tell_job(job)
            await self._follow(job, until_started=True)

    async def execute(self, job: RemoteJob, arguments: dict[str, Any]) -> object:
        """Never returns: raises EndedElsewhere with the outcome, or JobProcessDied. A cancel kills the process."""
        with self._let_go_on_error(job):
            await self._follow(job, until_started=False)
        raise AssertionError("the process ended its job without an outcome")

    def ask_to_end(self, job: RemoteJob, reason: str) -> None:
        """Tells the process; one that is still waited for is not waited for any more."""
        if job.process is not None:
            job.process.channel.send({"end": reason, "job_id": str(job.context.job_id)})
        elif job.waiter is not None and not job.waiter.done():
            job.waiter.set_exception(JobAborted(reason))

    async def close(self) -> None:
        """Ends all processes."""
        self._size = 0
        processes = [*self._idle, *self._busy]
        self._idle.clear()
        for process in processes:
            process.kill()
        await asyncio.gather(*(process.ended() for process in processes))

    async def _take(self, job: RemoteJob) -> "_JobProcess":
        while len(self._busy) + self._starting >= self._size:
            job.waiter = asyncio.get_running_loop().create_future()
            self._waiting.append(job.waiter)
            try:
                await job.waiter
            except BaseException:
                self._wake_next()  # the place may have been given to this one just before
                raise
        while self._idle:
            process = self._idle.pop()
            if process.alive:
                self._busy.add(process)
                return process
        self._starting += 1
        try:
            process = await _JobProcess.spawn()
        except BaseException:
            self._starting -= 1
            self._wake_next()
            raise
        self._starting -= 1
        self._busy.add(process)
        return process

    async def _follow(self, job: RemoteJob, *, until_started: bool) -> None:
        process, run = job.process, job.context
        assert process is not None
        while True:
            try:
                message = await process.channel.receive()
            except ChannelClosed:
                raise JobProcessDied(await process.how_it_ended()) from None
            if "progress" in message:
                done, total, text = message["progress"]
                run.progress.update(done, total, text)
                if message["info"] is not None:
                    run.progress.take_over_info(message["info"])
            elif "log" in message and message["log"] in _LEVELS:
                getattr(run.log, message["log"])(message["event"], **_fields(message["fields"]))
            elif "started" in message and until_started:
                return
            elif "ended" in message:
                raise EndedElsewhere(outcome_from_value(message["ended"]))

    @contextlib.contextmanager
    def _let_go_on_error(self, job: RemoteJob) -> Iterator[None]:
        """A process that has told of the end serves again; of any other nobody knows what it does."""
        try:
            yield
        except EndedElsewhere:
            self._done_with(job, kill=False)
            raise
        except BaseException:
            self._done_with(job, kill=True)
            raise

    def _done_with(self, job: RemoteJob, *, kill: bool) -> None:
        process, job.process = job.process, None
        if process is None:
            return
        self._busy.discard(process)
        if kill or not process.alive or self._size == 0:
            process.kill()
        else:
            self._idle.append(process)
        self._wake_next()

    def _wake_next(self) -> None:
        while self._waiting:
            waiter = self._waiting.popleft()
            if not waiter.done():
                waiter.set_result(None)
                break


def _fields(fields: dict[str, Any]) -> dict[str, Any]:
    """What a job may add to a line: never the names that are the run's own."""
    own = {"event", "level", "logger", "timestamp", "job_id", "run", "tenant", "queue", "job_class", "correlation_id"}
    return {name: value for name, value in fields.items() if name not in own}


@dataclass(slots=True, eq=False)
class _JobProcess:
    process: asyncio.subprocess.Process
    channel: Channel
    _reaper: "asyncio.Task[int] | None" = field(default=None)

    @classmethod
    async def spawn(cls) -> "_JobProcess":
        ours, theirs = socket.socketpair()
        with theirs:
            command = [sys.executable, "-m", "jobservice.pool.job_process", str(theirs.fileno())]
            environment = {**os.environ, "PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}
            try:
                process = await asyncio.create_subprocess_exec(
                    *command, stdin=asyncio.subprocess.DEVNULL, pass_fds=[theirs.fileno()], env=environment
                )
            except BaseException:
                ours.close()
                raise
        channel = await Channel.over(ours)
        channel.send({"path": sys.path})
        return cls(process, channel, asyncio.create_task(process.wait()))

    @property
    def pid(self) -> int:
        return self.process.pid

    @property
    def alive(self) -> bool:
        return self.process.returncode is None

    def tell_job(self, job: RemoteJob) -> None:
        run, job_class = job.context, job.definition.job_class
        self.channel.send(
            {
                "run": claimed_to_value(run.claimed),
                "module": job_class.__module__,
                "class": job_class.__qualname__,
                "workspace": None if run.workspace is None else str(run.workspace),
            }
        )

    def kill(self) -> None:
        self.channel.close()
        if self.alive:
            with contextlib.suppress(ProcessLookupError):
                self.process.kill()

    async def ended(self) -> None:
        if self._reaper is not None:
            await asyncio.wait({self._reaper}, timeout=5)

    async def how_it_ended(self) -> str:
        """For people."""
        await self.ended()
        status = self.process.returncode
        if status is None:
            return f"process {self.pid} closed its connection in the middle of the job"
        if status >= 0:
            return f"process {self.pid} ended in the middle of the job, with exit status {status}"
        try:
            name = signal.Signals(-status).name
        except ValueError:
            name = f"signal {-status}"
        hint = ", perhaps for lack of memory" if -status == signal.SIGKILL else ""
        return f"process {self.pid} was ended by {name} in the middle of the job{hint}"
