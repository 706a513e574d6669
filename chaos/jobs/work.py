"""The job classes: short and long ones on every executor; ones that fail, try again, or never end."""

import asyncio
import time

from chaos.jobs.effects import Effect
from jobservice import AbstractJob, JobInfo, Retry

STOP_LOOK = 0.05
FOREVER = 3600.0


class Write(AbstractJob):
    """The short one."""

    async def run(self) -> int:
        await Effect(self.info.id, self.info.run).awrite(done=True)
        return self.info.run


class Sleep(AbstractJob):
    """By an author who fences nothing: a stale run ends as if nothing had been."""

    async def run(self, seconds: float) -> int:
        await asyncio.sleep(seconds)
        return self.info.run


class Walk(AbstractJob):
    """Some steps with pauses, on the event loop."""

    async def run(self, steps: int, pause: float) -> int:
        effect = Effect(self.info.id, self.info.run)
        self.completion_count = steps
        for _ in range(steps):
            await effect.awrite()
            await asyncio.sleep(pause)
            self.advance_completion()
        await effect.awrite(done=True)
        return self.info.run


class WalkOnThread(AbstractJob):
    """The same on a thread, with a workspace."""

    needs_workspace = True

    def run(self, steps: int, pause: float) -> int:
        effect = Effect(self.info.id, self.info.run)
        self.completion_count = steps
        for step in range(steps):
            effect.write()
            (self.workspace / f"step-{step}").write_bytes(bytes(1000))
            time.sleep(pause)
            self.advance_completion()
        effect.write(done=True)
        return self.info.run


class WalkInProcess(WalkOnThread):
    """The same in a process."""

    executor = "process"


class Fail(AbstractJob):
    """Always fails, at its only attempt."""

    async def run(self) -> None:
        await Effect(self.info.id, self.info.run).awrite()
        raise ValueError("as asked")


class Stumble(AbstractJob):
    """Fails at its first attempts; how many it has is said by the JobInfo."""

    backoff = 0.2

    async def run(self, failures: int, after: float | None = None) -> int:
        effect = Effect(self.info.id, self.info.run)
        await effect.awrite()
        if self.info.attempt <= failures:
            if after is not None:
                raise Retry("as asked", after=after)
            raise ValueError("as asked")
        await effect.awrite(done=True)
        return self.info.run


class Follow(AbstractJob):
    """Has another job queued with its own success."""

    async def run(self) -> int:
        self.submit_next(JobInfo(Write, tenant=self.info.tenant, correlation_id=f"after {self.info.id}"))
        await Effect(self.info.id, self.info.run).awrite(done=True)
        return self.info.run


class Linger(AbstractJob):
    """Ends by a stop only."""

    async def run(self) -> None:
        await Effect(self.info.id, self.info.run).awrite()
        await asyncio.sleep(FOREVER)


class LingerOnThread(AbstractJob):
    """The same on a thread."""

    def run(self) -> None:
        Effect(self.info.id, self.info.run).write()
        while True:
            time.sleep(STOP_LOOK)
            self.raise_if_stopped()


class LingerInProcess(LingerOnThread):
    """The same in a process."""

    executor = "process"
