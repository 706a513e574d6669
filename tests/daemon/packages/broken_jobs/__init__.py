"""Job classes that break what they run in, as far as a job can."""

import asyncio
import gc
import os
import sys
import threading
import time

from jobservice import AbstractJob


class Fine(AbstractJob):
    async def run(self) -> None: ...


class Blocks(AbstractJob):
    """Holds the event loop."""

    async def run(self, seconds: float) -> None:
        time.sleep(seconds)


class RaisesInDel(AbstractJob):
    """Leaves a cycle whose end raises."""

    async def run(self) -> None:
        class Bad:
            def __init__(self) -> None:
                self.me = self

            def __del__(self) -> None:
                raise RuntimeError("from __del__")

        Bad()
        gc.collect()


class LeavesThreads(AbstractJob):
    async def run(self) -> None:
        threading.Thread(target=time.sleep, args=(3_600,)).start()
        asyncio.get_running_loop().run_in_executor(None, time.sleep, 3_600)


class ClosesOutput(AbstractJob):
    def run(self) -> None:
        sys.stdout.close()


class Forks(AbstractJob):
    def run(self) -> int:
        child = os.fork()
        if child == 0:
            os._exit(0)
        return os.waitpid(child, 0)[1]


class LeavesTask(AbstractJob):
    """A task that fails when nobody looks, and one that never ends."""

    async def run(self) -> None:
        async def fails() -> None:
            raise ValueError("nobody looks")

        self.tasks = [asyncio.create_task(fails()), asyncio.create_task(asyncio.Event().wait())]
        await asyncio.sleep(0)


class Allocates(AbstractJob):
    """More than there is: under a limit of its own, in a process of its own."""

    executor = "process"

    def run(self) -> int:
        import resource

        resource.setrlimit(resource.RLIMIT_AS, (400_000_000, 400_000_000))
        return len(bytearray(2_000_000_000))
