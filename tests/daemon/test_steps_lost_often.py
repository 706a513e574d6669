"""A job with steps that gets on between the deaths of its daemons is not what kills them."""

from typing import Any
from uuid import UUID, uuid4

import asyncpg
import pytest
from daemons import Books
from factory import SETTLER, make_daemon, make_job, row_of

from jobservice.lifecycle.claim import Claimer
from jobservice.lifecycle.rescue import Rescuer
from jobservice.sdk.steps import Counts
from jobservice.steps.book import Book, StepState

INSTANCE = uuid4()


class Losing:
    """One job, whose daemons are lost one after the other."""

    def __init__(self, connection: asyncpg.Connection) -> None:
        self.connection = connection
        self.rescuer = Rescuer(schema="jobservice", max_lost_runs=3, follower=SETTLER)

    async def begin(self) -> None:
        self.job = await make_job(self.connection)
        await self.connection.execute(
            """INSERT INTO jobservice.job_instance (id, tenant, job_class, key, parameters)
               VALUES ($1, 't', 'C', 'k', '{}')""",
            INSTANCE,
        )
        await self.connection.execute("INSERT INTO jobservice.job_execution VALUES ($1, $2, true)", self.job, INSTANCE)

    async def run(self, *, chunks: int = 0, ended: str | None = None, begun: str | None = None) -> str:
        """Claimed, so many chunks committed, perhaps the end of a step, and the daemon is gone; the job's status."""
        daemon = await make_daemon(self.connection)
        book = await self._claimed(daemon)
        if chunks:
            state = await book.begin(self.connection, INSTANCE, "copy", epoch="epoch")
            checkpoints = book.checkpoints(INSTANCE, state)
            for _ in range(chunks):
                state.counts.commits += 1
                state.counts.read += 10
                await checkpoints.write(self.connection, position=state.counts.commits, state={}, counts=state.counts)
        if ended is not None:
            state = await book.begin(self.connection, INSTANCE, ended, epoch="epoch")
            await self._end(book, state)
        if begun is not None:
            await book.begin(self.connection, INSTANCE, begun, epoch="epoch")
        await self.connection.execute("UPDATE jobservice.daemon SET lost_at = clock_timestamp() WHERE id = $1", daemon)
        await self.rescuer.rescue(self.connection)
        return str((await row_of(self.connection, self.job))["status"])

    async def _end(self, book: Book, state: StepState) -> None:
        await book.end(self.connection, INSTANCE, state, "SUCCEEDED", did=Counts())

    async def _claimed(self, daemon: UUID) -> Book:
        claimer = Claimer(daemon_id=daemon, schema="jobservice", submissions_published=False)
        (claimed,) = (
            await claimer.claim(self.connection, queue="default", slots=1, skipped_classes=(), charges={})
        ).jobs
        return Book(schema="jobservice", job_id=self.job, run=claimed.run, daemon_id=daemon)


@pytest.fixture
async def losing(books: Books) -> Any:
    scene = Losing(books.connection)
    await scene.begin()
    return scene


async def test_a_job_that_commits_chunks_between_the_deaths_of_its_daemons_goes_on_however_often(
    losing: Losing,
) -> None:
    lives = [await losing.run(chunks=2) for _ in range(10)]

    assert lives == ["QUEUED"] * 10
    assert (await row_of(losing.connection, losing.job))["lost_runs"] == 1


async def test_a_job_that_ends_a_step_between_the_deaths_of_its_daemons_goes_on_however_often(losing: Losing) -> None:
    lives = [await losing.run(ended=f"step-{n}") for n in range(10)]

    assert lives == ["QUEUED"] * 10


async def test_a_job_that_kills_its_daemons_at_the_same_chunk_is_poison_all_the_same(losing: Losing) -> None:
    lives = [await losing.run(chunks=2), await losing.run(), await losing.run()]

    assert lives == ["QUEUED", "QUEUED", "FAILED"]


async def test_a_run_that_was_lost_is_told_with_what_it_has_committed(losing: Losing) -> None:
    for chunks in (2, 3):
        await losing.run(chunks=chunks)

    runs = await losing.connection.fetch(
        "SELECT run, status, read, commits, end_date IS NULL FROM jobservice.step_run WHERE step = 'copy' ORDER BY run"
    )
    assert [tuple(run) for run in runs] == [(1, "LOST", 20, 2, False), (2, "LOST", 30, 3, False)]


async def test_the_step_of_a_job_that_was_lost_too_often_has_failed_of_it(losing: Losing) -> None:
    lives = [await losing.run(chunks=1), await losing.run(begun="copy"), await losing.run(begun="copy")]

    step = await losing.connection.fetchrow("SELECT * FROM jobservice.step_execution")
    assert lives == ["QUEUED", "QUEUED", "FAILED"]
    assert (step["status"], step["error_type"], step["read"]) == ("FAILED", "LostTooOften", 10)
    assert step["stop_date"] is not None
    runs = await losing.connection.fetch("SELECT status, read FROM jobservice.step_run ORDER BY run")
    assert [tuple(run) for run in runs] == [("LOST", 10), ("LOST", 0), ("LOST", 0)]
