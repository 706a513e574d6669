"""Job classes that other processes can import, each of which does something to its process."""

import asyncio
import os
import signal
import sys
import threading
import time
from pathlib import Path

from jobservice import AbstractJob, JobInfo, Retry


class InProcess(AbstractJob):
    """What they share."""

    executor = "process"


class WhoAmI(InProcess):
    def run(self) -> dict[str, object]:
        return {"pid": os.getpid(), "job_id": str(self.info.job_id), "run": self.info.run}


class Add(InProcess):
    async def run(self, a: int, b: int = 1) -> int:
        await asyncio.sleep(0)
        return a + b


class Counts(InProcess):
    def run(self) -> None:
        self.completion_count = 4
        for n in range(3):
            self.advance_completion()
            self.log.info("counts.tick", n=n)
        self.set_progress(message="three of four")


class Steps(InProcess):
    def run(self) -> None:
        self.set_progress_info({"n": 2**70})
        with self.step("download"):
            pass
        self.begin_step("unpack")


class OfAStage(InProcess):
    def run(self, size: int) -> list[object]:
        assert self.stage is not None
        assert self.pipeline is not None
        self.increment_stage_metadata("n", 2)
        return [size, self.stage.data, self.pipeline.data]


class Raises(InProcess):
    max_attempts = 2
    backoff = 3

    def run(self, again: bool = False) -> None:
        if again:
            raise Retry(after=8)
        raise OSError("no route")


class Follows(InProcess):
    def run(self) -> None:
        self.submit_next(JobInfo("Add", parameters={"a": 1}))


class Files(InProcess):
    needs_workspace = True

    def run(self) -> str:
        (self.workspace / "x").write_text("y")
        return str(self.workspace)


class BadStart(InProcess):
    def __init__(self) -> None:
        raise RuntimeError("cannot be made")

    def run(self) -> None: ...


class Dies(InProcess):
    def run(self, how: str) -> None:
        match how:
            case "exit":
                os._exit(3)
            case "kill":
                os.kill(os.getpid(), signal.SIGKILL)
            case "segfault":
                os.kill(os.getpid(), signal.SIGSEGV)
            case "sys.exit":
                sys.exit(4)


class Patient(InProcess):
    """Works until it is asked to end."""

    def run(self, marker: Path) -> None:
        marker.touch()
        while True:
            time.sleep(0.001)
            self.raise_if_stopped()


class AsyncPatient(InProcess):
    async def run(self, marker: Path) -> None:
        marker.touch()
        await asyncio.Event().wait()


class Deaf(InProcess):
    """Never ends by itself, and holds the interpreter."""

    timeout = None

    def run(self, marker: Path) -> None:
        marker.write_text(str(os.getpid()))
        while True:
            pass


class Messy(InProcess):
    """Closes what it should not, and leaves a thread behind."""

    def run(self) -> str:
        sys.stdout.close()
        os.close(1)
        threading.Thread(target=time.sleep, args=(3_600,), daemon=False).start()
        if os.fork() == 0:
            os._exit(0)
        return "done"
