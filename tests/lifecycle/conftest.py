"""A connection to a database of the test's own, a daemon in its books, and that daemon's status writer."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from uuid import UUID

import asyncpg
import pytest
from factory import SETTLER, empty_tables, end_other_sessions, make_daemon
from fair_scene import Scene
from impatience import replace_claim

from jobservice.domain.facts import Committed
from jobservice.domain.states import JobStatus
from jobservice.lifecycle.status_writer import StatusWriter
from jobservice.store.session import Session
from jobservice.testing.databases import Databases


@dataclass
class Told:
    """What a status writer told its listener and its publisher."""

    settled_runs: list[tuple[UUID, int, JobStatus]] = field(default_factory=list)
    stale_runs: list[tuple[UUID, int, str | None]] = field(default_factory=list)
    stop_marks: list[tuple[UUID, int]] = field(default_factory=list)
    committed: list[Committed] = field(default_factory=list)

    def started(self, job_id: UUID, run: int) -> None: ...

    def settled(self, job_id: UUID, run: int, status: JobStatus) -> None:
        self.settled_runs.append((job_id, run, status))

    def stale(self, job_id: UUID, run: int, status: str | None) -> None:
        self.stale_runs.append((job_id, run, status))

    def stop_marked(self, job_id: UUID, run: int) -> None:
        self.stop_marks.append((job_id, run))


@pytest.fixture(scope="module")
def module_database_url(jobservice_databases: Databases) -> Iterator[str]:
    url = jobservice_databases.create()
    yield url
    jobservice_databases.drop(url)


@pytest.fixture
async def database_url(module_database_url: str) -> str:
    """One database for each module here, emptied for each test: hundreds of short tests need no database each."""
    connection = await asyncpg.connect(module_database_url)
    await end_other_sessions(connection)
    await empty_tables(connection)
    await connection.close()
    return module_database_url


WriterOf = Callable[[UUID], tuple[StatusWriter, Told]]
Connect = Callable[[], Awaitable[asyncpg.Connection]]


@pytest.fixture
async def connect(database_url: str) -> AsyncIterator[Connect]:
    """Opens one more connection to the test's database; all are closed afterwards."""
    async with AsyncExitStack() as stack:

        async def opened() -> asyncpg.Connection:
            connection = await asyncpg.connect(database_url)
            stack.callback(connection.terminate)
            return connection

        yield opened


@pytest.fixture
async def connection(connect: Connect) -> asyncpg.Connection:
    return await connect()


@pytest.fixture
async def daemon(connection: asyncpg.Connection) -> UUID:
    """A living daemon of queue `default`."""
    return await make_daemon(connection)


@pytest.fixture
async def writer_of(database_url: str) -> AsyncIterator[WriterOf]:
    """The status writer of a daemon, with what it told."""
    async with AsyncExitStack() as stack:

        def made(daemon_id: UUID) -> tuple[StatusWriter, Told]:
            told = Told()
            session = Session(url=database_url, name="writer")
            stack.push_async_callback(session.close)
            writer = StatusWriter(
                session=session, daemon_id=daemon_id, schema="jobservice", publish=told.committed.append, listener=told,
                follower=SETTLER,
                wake=lambda: None,
            )  # fmt: skip
            return writer, told

        yield made


@pytest.fixture(scope="module", params=[False, True], ids=["usual", "bounds move"])
def scene(module_database_url: str, request: pytest.FixtureRequest) -> Iterator[tuple[asyncio.Runner, Scene]]:
    """Hypothesis calls the test many times in one loop of its own; the claim as it is, and as under an old snapshot."""
    with asyncio.Runner(loop_factory=asyncio.new_event_loop) as runner:
        connections = [runner.run(asyncpg.connect(module_database_url)) for _ in range(2)]
        runner.run(replace_claim(connections[0], impatient=request.param))
        yield runner, Scene(*connections)
        for connection in connections:
            runner.run(connection.close())
