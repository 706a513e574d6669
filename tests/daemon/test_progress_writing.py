"""How far runs have come, while somebody holds a row of theirs."""

from collections.abc import AsyncIterator

import asyncpg
import pytest
from daemons import Books
from factory import held_run, make_daemon, make_job

from jobservice.domain.states import JobStatus
from jobservice.lifecycle.progress_writer import ProgressWriter
from jobservice.sdk.progress import Progress
from jobservice.store.session import Session


class Advanced:
    """A run at 50 %."""

    def __init__(self, job_id: object) -> None:
        held = held_run(job_id, 1, started_at=1.0)
        self.job_id, self.run, self.started_at = held.job_id, held.run, held.started_at
        self.progress = Progress()
        self.progress.update(done=1, total=2)

    def estimated_completion_seconds(self) -> float | None:
        return None


@pytest.fixture
async def session(database_url: str) -> AsyncIterator[Session]:
    session = Session(url=database_url, name="writer")
    yield session
    await session.close()


async def test_a_held_row_holds_up_no_other_progress_and_its_own_comes_later(
    database_url: str, session: Session, books: Books
) -> None:
    daemon = await make_daemon(books.connection)
    ids = [await make_job(books.connection, JobStatus.RUNNING, daemon=daemon) for _ in range(2)]
    runs = [Advanced(job_id) for job_id in ids]
    writer = ProgressWriter(session=session, daemon_id=daemon, schema="jobservice", runs=lambda: runs)
    holder = await asyncpg.connect(database_url)

    async with holder.transaction():
        await holder.execute("SELECT FROM jobservice.job_info WHERE id = $1 FOR UPDATE", ids[0])
        await writer.run_once()
        assert [(await books.job(job_id))["percent_completed"] for job_id in ids] == [0, 50]
    await holder.close()
    await writer.run_once()

    assert [(await books.job(job_id))["percent_completed"] for job_id in ids] == [50, 50]
