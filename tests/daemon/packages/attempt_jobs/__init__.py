"""Job classes that fail, take too long, do not end, or break what they run in."""

import asyncio
import os
import signal
import time
from pathlib import Path

from jobservice import AbstractJob, Retry


class SucceedsAtLast(AbstractJob):
    """Fails until its `good`th attempt."""

    max_attempts = 5
    backoff = 0.05

    async def run(self, good: int) -> int:
        if self.info.attempt < good:
            raise ConnectionError(f"attempt {self.info.attempt}")
        return self.info.attempt


class AsksAgain(AbstractJob):
    max_attempts = 2

    async def run(self, after: float) -> int:
        if self.info.attempt == 1:
            raise Retry("not yet", after=after)
        return self.info.run


class Picky(AbstractJob):
    max_attempts = 5
    retry_on = (ConnectionError,)

    async def run(self) -> None:
        raise ValueError("not of that kind")


class Slow(AbstractJob):
    timeout = 0.2

    async def run(self) -> None:
        await asyncio.Event().wait()


class DeafThread(AbstractJob):
    """Hears neither stop nor timeout until the file is there."""

    def run(self, file: Path) -> str:
        while not file.exists():
            time.sleep(0.01)
        return "late"


class InProcess(AbstractJob):
    """`how`: return, die, or hold the interpreter for ever."""

    executor = "process"

    def run(self, how: str) -> int:
        if how == "die":
            os.kill(os.getpid(), signal.SIGKILL)
        while how == "hold":
            pass
        return os.getpid()


class WaitsInProcess(AbstractJob):
    """Ends once the file is there."""

    executor = "process"

    def run(self, file: Path) -> None:
        while not file.exists():
            time.sleep(0.01)


class Quick(AbstractJob):
    async def run(self) -> None: ...
