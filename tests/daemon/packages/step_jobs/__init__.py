"""Job classes that tell of their steps, each for every executor."""

import asyncio
import time
from pathlib import Path

from jobservice import AbstractJob


def begin(job: AbstractJob) -> None:
    job.set_progress_info({"phase": "first"})
    with job.step("download"):
        pass
    job.begin_step("unpack")
    job.set_progress_info({"files": [1, 2**70]})


class StepsOnLoop(AbstractJob):
    """Begins two steps, ends one, and waits for the file where one is given."""

    async def run(self, file: Path | None = None, fails: bool = False) -> None:
        begin(self)
        while file is not None and not file.exists():
            await asyncio.sleep(0.01)
        if fails:
            raise ValueError("in the middle of a step")


class StepsOnThread(AbstractJob):
    max_attempts = 2
    backoff = 3_600

    def run(self, file: Path | None = None, fails: bool = False) -> None:
        begin(self)
        while file is not None and not file.exists():
            self.raise_if_stopped()
            time.sleep(0.01)
        if fails:
            raise ValueError("in the middle of a step")


class StepsInProcess(AbstractJob):
    executor = "process"

    def run(self, file: Path | None = None, fails: bool = False) -> None:
        begin(self)
        while file is not None and not file.exists():
            self.raise_if_stopped()
            time.sleep(0.01)
        if fails:
            raise ValueError("in the middle of a step")
