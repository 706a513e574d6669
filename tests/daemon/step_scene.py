"""One run of a job's step by itself, on a database that may lose its answers."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any
from uuid import uuid4

import asyncpg
import pytest
import structlog
from daemons import until
from factory import make_daemon, make_job
from lossy_line import LossyLine

from jobservice.domain.states import JobStatus
from jobservice.sdk.progress import Progress
from jobservice.sdk.steps import Listener
from jobservice.steps.book import Book, Instance, StepState
from jobservice.steps.calling import Listeners
from jobservice.steps.connections import StepConnections
from jobservice.steps.context import Context
from jobservice.steps.step_run import StepRun
from jobservice.steps.threads import StepThreads


class Scene:
    """One run of one job, over a line that may lose answers, and a connection that loses none."""

    def __init__(self, line: LossyLine, direct: asyncpg.Connection, connections: StepConnections) -> None:
        self.line = line
        self.direct = direct
        self.connections = connections
        self.cut_at: set[int] = set()
        self.progress: Any = None

    async def begin(self) -> None:
        self.daemon = await make_daemon(self.direct)
        self.job = await make_job(self.direct, JobStatus.RUNNING, daemon=self.daemon)
        run = await self.direct.fetchval("SELECT run FROM jobservice.job_info WHERE id = $1", self.job)
        self.book = Book(schema="jobservice", job_id=self.job, run=run, daemon_id=self.daemon)
        self.instance = Instance(uuid4(), 1, "epoch", {})
        await self.direct.execute(
            """INSERT INTO jobservice.job_instance (id, tenant, job_class, key, parameters)
               VALUES ($1, 't', 'C', 'k', '{}')""",
            self.instance.id,
        )
        await self.direct.execute("DROP TABLE IF EXISTS target; CREATE TABLE target (value integer)")

    async def begun(self, step: str) -> StepState:
        return await self.book.begin(self.direct, self.instance.id, step, epoch="epoch")

    def run(self, state: StepState, *listeners: Listener) -> StepRun:
        job: Any = _Job()
        context = Context(job=job, key="k", shared=self.instance.shared, threads=StepThreads())
        context.state, context.counts = state.state, state.counts
        return StepRun(
            job=job, instance=self.instance, context=context, book=self.book, connections=self.connections,
            listeners=Listeners(listeners, job.log), leaving=lambda: False,
        )  # fmt: skip

    async def write(self, context: Any, items: list[int]) -> None:
        """Where it is told to, the answer to this transaction's commit gets lost, and then the line is cut."""
        await context.connection.executemany("INSERT INTO target VALUES ($1)", [(item,) for item in items])
        if items[0] in self.cut_at:
            self.cut_at.discard(items[0])
            self.line.lose_answers(to=b"COMMIT")
            self.cutting = asyncio.create_task(self._cut_when_committed(items[0]))

    async def _cut_when_committed(self, item: int) -> None:
        async def there() -> bool:
            return bool(await self.direct.fetchval("SELECT count(*) FROM target WHERE value = $1", item))

        await until(there, "the commit has come through")
        self.line.cut()

    async def written(self) -> str:
        return str(await self.direct.fetchval("SELECT count(*) || ' ' || count(DISTINCT value) FROM target"))

    async def status(self) -> str:
        return str(await self.direct.fetchval("SELECT status FROM jobservice.step_execution"))


class Run:
    ending = None
    progress = Progress()


class _Job:
    log = structlog.get_logger()
    _context = Run()

    def set_progress(self, **told: Any) -> None:
        pass


@pytest.fixture
async def scene(database_url: str) -> AsyncIterator[Scene]:
    line = LossyLine(database_url)
    await line.open()
    direct = await asyncpg.connect(database_url)
    connections = StepConnections(url=line.url, daemon_id=uuid4(), size=2)
    scene = Scene(line, direct, connections)
    await scene.begin()
    yield scene
    await connections.close()
    await direct.close()
    await line.close()
