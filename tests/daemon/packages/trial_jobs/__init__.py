"""Job classes for daemons under test: each does one thing that a daemon must bear.

A job that is to wait for its test looks for a file; so the same classes serve daemons in this process and in others.
"""

import asyncio
import os
import sys
import time
from pathlib import Path
from typing import Any

from jobservice import AbstractJob, JobInfo


class NoOp(AbstractJob):
    async def run(self, n: int = 0) -> None:
        del n


class Echo(AbstractJob):
    async def run(self, value: Any = None) -> Any:
        return value


class Forever(AbstractJob):
    """Until it is ended."""

    async def run(self) -> None:
        await asyncio.Event().wait()


class Waits(AbstractJob):
    async def run(self, file: Path, total: int = 0, done: int = 0) -> None:
        self.completion_count = total
        self.advance_completion(done)
        while not file.exists():
            await asyncio.sleep(0.01)


class ThreadWaits(AbstractJob):
    """Hears a stop."""

    def run(self, file: Path) -> str:
        while not file.exists():
            self.raise_if_stopped()
            time.sleep(0.01)
        return "from a thread"


class ThreadDeaf(AbstractJob):
    """Hears no stop."""

    def run(self, file: Path) -> None:
        while not file.exists():
            time.sleep(0.01)


class Stubborn(AbstractJob):
    """Goes on when it is cancelled."""

    async def run(self, file: Path) -> None:
        while not file.exists():
            try:
                await asyncio.sleep(0.01)
            except asyncio.CancelledError:
                continue


class Blocks(AbstractJob):
    """Blocks the event loop."""

    async def run(self, seconds: float) -> None:
        time.sleep(seconds)


class Prints(AbstractJob):
    async def run(self) -> None:
        print("said by a job")


class Raises(AbstractJob):
    async def run(self, text: str = "no luck") -> None:
        raise ValueError(text)


class Lacks(AbstractJob):
    """Fails where the file is not there."""

    async def run(self, file: Path) -> None:
        if not file.exists():
            raise FileNotFoundError(str(file))


class RaisesSurrogate(AbstractJob):
    """Its text is what a file name of undecodable bytes is."""

    async def run(self) -> None:
        raise OSError("no file \udcff\x00")


class Exits(AbstractJob):
    async def run(self) -> None:
        sys.exit(3)


class ThreadExits(AbstractJob):
    def run(self) -> None:
        sys.exit(3)


class Interrupts(AbstractJob):
    async def run(self) -> None:
        raise KeyboardInterrupt("from a job")


class Unmade(AbstractJob):
    def __init__(self) -> None:
        raise ValueError("not to be made")

    async def run(self) -> None: ...


class EndsProcess(AbstractJob):
    """Ends the whole process, at once."""

    async def run(self) -> None:
        os._exit(9)


class BeyondException(BaseException):
    """Not an Exception."""


class RaisesBase(AbstractJob):
    async def run(self) -> None:
        raise BeyondException("beyond")


class CancelsItself(AbstractJob):
    async def run(self) -> None:
        task = asyncio.current_task()
        assert task is not None
        task.cancel()
        await asyncio.sleep(0)


class Unencodable(AbstractJob):
    async def run(self) -> object:
        return object()


class Nul(AbstractJob):
    async def run(self) -> str:
        return "a\u0000b"


class Aborts(AbstractJob):
    async def run(self) -> None:
        self.abort("enough")


class SubmitsNext(AbstractJob):
    async def run(self, tenant: str = "default", fails: bool = False) -> None:
        self.submit_next(JobInfo(job_class="NoOp", tenant=tenant))
        if fails:
            raise ValueError("after submit_next")


class InWorkspace(AbstractJob):
    needs_workspace = True

    async def run(self) -> str:
        (self.workspace / "left behind").write_text("x")
        return str(self.workspace)


class Ticks(AbstractJob):
    """Advances each 10 ms, so that there is always something to write."""

    async def run(self, total: int) -> None:
        self.completion_count = total
        for _ in range(total):
            self.advance_completion()
            await asyncio.sleep(0.01)
