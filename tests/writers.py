"""The status writer of a daemon without a pool, and what it told; a conftest imports the fixture."""

from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from uuid import UUID

import pytest
from factory import SETTLER

from jobservice.domain.facts import Committed
from jobservice.domain.states import JobStatus
from jobservice.lifecycle.status_writer import StatusWriter
from jobservice.store.session import Session


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


WriterOf = Callable[[UUID], tuple[StatusWriter, Told]]


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
