"""Owns where a job's `run` is executed: on the event loop, or on a thread. A run knows only the Protocol.

Processes are `process_executor`'s.
"""

import asyncio
import contextvars
import threading
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from functools import partial
from queue import SimpleQueue
from typing import Any, Protocol

from jobservice.domain.outcomes import Outcome
from jobservice.sdk.abstract_job import AbstractJob, JobContext, instantiate
from jobservice.sdk.definition import JobDefinition
from jobservice.thread_answers import Ended, awaited, ended, tell


class EndedElsewhere(Exception):
    """A job that ran in another process has ended there, with this outcome."""

    def __init__(self, outcome: Outcome) -> None:
        super().__init__(outcome)
        self.outcome = outcome


class Executor(Protocol):
    """Executes a job and returns what its `run` returned, or raises what it raised."""

    @property
    def cancellable(self) -> bool:
        """Whether a job is asked to end by cancelling the awaiting task. Where not, a cancel gives the job up."""

    @property
    def checkpoints(self) -> bool:
        """Whether its jobs stand at a checkpoint now and then, where a drain may end them at no loss."""

    @property
    def stuck(self) -> int:
        """Jobs that were given up and still hold something of this executor's."""

    @property
    def begin(self) -> Callable[[Any], Awaitable[None]] | None:
        """None, or what is awaited before the start: a process gets ready there, and from then on a cancel kills it."""

    def make(self, definition: JobDefinition, context: JobContext) -> Any:
        """The job for one run, as `begin` and `execute` take it. What its `__init__` raises comes out."""

    def has_place(self, job: Any) -> bool:
        """Whether a job that begins has got what it runs in. Where it need not wait for that, always."""

    async def execute(self, job: Any, arguments: dict[str, Any]) -> object: ...

    def ask_to_end(self, job: Any, reason: str) -> None:
        """Where a cancel does not: tell the job that it is to end. It may not hear."""


class AsyncioExecutor:
    """Awaits the job in the task of its run: no hop, and a cancel reaches the job."""

    cancellable = True
    checkpoints = False
    begin = None
    stuck = 0

    def make(self, definition: JobDefinition, context: JobContext) -> AbstractJob:
        """Here and now."""
        return instantiate(definition.job_class, context)

    def has_place(self, job: AbstractJob) -> bool:
        """Always."""
        return True

    async def execute(self, job: AbstractJob, arguments: dict[str, Any]) -> object:
        """Raises whatever the job raises, CancelledError too."""
        return await job.run(**arguments)

    def ask_to_end(self, job: AbstractJob, reason: str) -> None:
        """A cancel does."""


class ThreadExecutor:
    """Runs jobs on up to `size` threads, made when first needed.

    Daemon threads of its own, because concurrent.futures joins its threads when the interpreter ends: one stuck job
    would keep the process alive. Cancelling the awaiting task leaves the thread to itself; while it goes on it counts
    as stuck, and another one may be made in its place.
    """

    cancellable = False
    checkpoints = False
    begin = None

    def __init__(self, size: int) -> None:
        self._size = size
        self._calls: SimpleQueue[_Call | None] = SimpleQueue()
        self._lock = threading.Lock()
        self._threads = 0
        self._wanted = 0
        """Calls that are queued or running."""
        self.stuck = 0

    def make(self, definition: JobDefinition, context: JobContext) -> AbstractJob:
        """Here and now; only `run` is the thread's."""
        return instantiate(definition.job_class, context)

    def has_place(self, job: AbstractJob) -> bool:
        """Always: what waits for a thread has begun."""
        return True

    def ask_to_end(self, job: AbstractJob, reason: str) -> None:
        """It asks its run at its next check."""

    async def execute(self, job: AbstractJob, arguments: dict[str, Any]) -> object:
        """Sees what was bound to the context (log lines, for one) as the awaiting task does."""
        loop = asyncio.get_running_loop()
        call = _Call(job, arguments, contextvars.copy_context(), loop, loop.create_future())
        self._put(call)
        return await awaited(call.answer, lambda: self._leave(call))

    def close(self) -> None:
        """Lets idle threads end; one inside a job ends after it, or with the process."""
        with self._lock:
            threads, self._threads, self._size = self._threads, 0, 0
        for _ in range(threads):
            self._calls.put(None)

    def _put(self, call: "_Call") -> None:
        with self._lock:
            if self._size == 0:
                raise RuntimeError("the thread executor is closed")
            self._wanted += 1
            grow = self._threads < min(self._wanted, self._size)
            self._threads += grow
            number = self._threads
        self._calls.put(call)
        if grow:
            threading.Thread(target=self._work, name=f"job-{number}", daemon=True).start()

    def _leave(self, call: "_Call") -> None:
        """Nobody waits for it any more: while it goes on, its thread is stuck and does not count."""
        with self._lock:
            if call.begun and not call.ended:
                call.left = True
                self.stuck += 1
                self._size += 1

    def _work(self) -> None:
        while (call := self._calls.get()) is not None:
            with self._lock:
                call.begun = True
            how = call.context.run(ended, partial(_run, call.job, call.arguments), call.answer)
            surplus = self._end(call)  # before it is told: who hears of it and asks again is to find this thread free
            tell(call.loop, call.answer, how)
            if surplus:
                return

    def _end(self, call: "_Call") -> bool:
        """Whether there are now more threads than there should be."""
        with self._lock:
            call.ended = True
            self._wanted -= 1
            if call.left:
                self.stuck -= 1
                self._size = max(0, self._size - 1)
            surplus = self._threads > self._size > 0
            self._threads -= surplus
            return surplus


@dataclass(slots=True)
class _Call:
    """One job on its way through a thread. The flags are guarded by the executor's lock."""

    job: AbstractJob
    arguments: dict[str, Any]
    context: contextvars.Context
    loop: asyncio.AbstractEventLoop
    answer: asyncio.Future[Ended]
    begun: bool = False
    ended: bool = False
    left: bool = False


def _run(job: AbstractJob, arguments: dict[str, Any]) -> object:
    job.raise_if_stopped()
    return job.run(**arguments)
