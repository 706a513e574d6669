"""Owns where a job's `run` is executed: on the event loop, or on a thread. A run knows only the Protocol."""

import asyncio
import contextvars
import threading
from collections.abc import Callable
from queue import SimpleQueue
from typing import Any, Protocol

from jobservice.sdk.abstract_job import AbstractJob


class Executor(Protocol):
    """Executes a job and returns what its `run` returned, or raises what it raised."""

    @property
    def cancellable(self) -> bool:
        """Whether cancelling the awaiting task ends the job itself."""

    async def execute(self, job: AbstractJob, arguments: dict[str, Any]) -> object: ...


class AsyncioExecutor:
    """Awaits the job in the task of its run: no hop, and a cancel reaches the job."""

    cancellable = True

    async def execute(self, job: AbstractJob, arguments: dict[str, Any]) -> object:
        """Raises whatever the job raises, CancelledError too."""
        return await job.run(**arguments)


class ThreadExecutor:
    """Runs jobs on up to `size` threads, made when first needed.

    Daemon threads of its own, because concurrent.futures joins its threads when the interpreter ends: one stuck job
    would keep the process alive. Cancelling the awaiting task leaves the thread to itself.
    """

    cancellable = False

    def __init__(self, size: int) -> None:
        self._size = size
        self._calls: SimpleQueue[Callable[[], None] | None] = SimpleQueue()
        self._lock = threading.Lock()
        self._threads = 0
        self._wanted = 0
        """Calls that are queued or running."""

    async def execute(self, job: AbstractJob, arguments: dict[str, Any]) -> object:
        """Sees what was bound to the context (log lines, for one) as the awaiting task does."""
        loop = asyncio.get_running_loop()
        answer: asyncio.Future[tuple[object, BaseException | None]] = loop.create_future()
        context = contextvars.copy_context()

        def call() -> None:
            ended = context.run(_ended, job, arguments, answer)
            # Before it is told: who hears of it and asks again is to find this thread free.
            with self._lock:
                self._wanted -= 1
            try:
                loop.call_soon_threadsafe(_tell, answer, ended)
            except RuntimeError:  # the loop is closed: nobody waits any more
                return

        self._put(call)
        value, error = await answer
        if error is not None:
            try:
                raise error
            finally:
                error = None  # or the traceback would hold this frame, and this frame the traceback
        return value

    def close(self) -> None:
        """Lets idle threads end; one inside a job ends after it, or with the process."""
        with self._lock:
            threads, self._threads, self._size = self._threads, 0, 0
        for _ in range(threads):
            self._calls.put(None)

    def _put(self, call: Callable[[], None]) -> None:
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

    def _work(self) -> None:
        while (call := self._calls.get()) is not None:
            call()


def _ended(
    job: AbstractJob, arguments: dict[str, Any], answer: asyncio.Future[Any]
) -> tuple[object, BaseException | None]:
    """How the job ended, as a value: a future refuses StopIteration, and a thread may end in anything."""
    try:
        if answer.cancelled():
            return None, None
        job.raise_if_stopped()
        return job.run(**arguments), None
    except BaseException as error:  # noqa: BLE001 - given to the run, which records it
        return None, error


def _tell(answer: asyncio.Future[Any], ended: tuple[object, BaseException | None]) -> None:
    if not answer.done():
        answer.set_result(ended)
