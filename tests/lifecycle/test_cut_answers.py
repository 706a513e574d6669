"""Answers that get lost after the commit: what is written is found, nothing is done twice, nothing is forgotten."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any
from uuid import UUID

import asyncpg
import pytest
import structlog
from factory import SETTLER, held_run, make_job, outbox_rows, row_of
from histories import check_histories
from lossy_line import LossyLine

from jobservice.domain.errors import UnavailableError
from jobservice.domain.outcomes import Failed, Succeeded
from jobservice.domain.states import JobStatus
from jobservice.leases.comparison import Comparison
from jobservice.lifecycle.claim import Claimer
from jobservice.lifecycle.status_writer import StatusWriter
from jobservice.lifecycle.submission import Submitter
from jobservice.pool.in_flight import InFlight
from jobservice.store.daemons import Daemons
from jobservice.store.outbox import Outbox
from jobservice.store.session import Session

RUNNING = JobStatus.RUNNING


@pytest.fixture
async def line(database_url: str) -> AsyncIterator[LossyLine]:
    line = LossyLine(database_url)
    await line.open()
    yield line
    await line.close()


@pytest.fixture
async def session(line: LossyLine) -> AsyncIterator[Session]:
    """A daemon's session over the lossy line, connected."""
    session = Session(url=line.url, name="cut")
    async with session.use() as connection:
        await connection.execute("SELECT 1")
    yield session
    await session.close()


@pytest.fixture
def writer(session: Session, daemon: UUID, told: Any) -> StatusWriter:
    return StatusWriter(
        session=session, daemon_id=daemon, schema="jobservice", publish=told.committed.append, listener=told,
        follower=SETTLER,
        wake=lambda: None,
    )  # fmt: skip


@pytest.fixture
def told(writer_of: Any, daemon: UUID) -> Any:
    return writer_of(daemon)[1]


class RelayStub:
    """A relay that holds no rows in memory and is told to read them back."""

    behind = False

    def __init__(self) -> None:
        self.reasons: list[str] = []

    def holds(self, outbox_id: int) -> bool:
        return False

    def catch_up(self, reason: str) -> None:
        self.reasons.append(reason)


async def answer_lost(work: Awaitable[Any], line: LossyLine, written: Callable[[], Awaitable[bool]]) -> None:
    """Does the work, whose effect is committed and whose answer never comes."""
    task = asyncio.ensure_future(work)
    async with asyncio.timeout(60):
        while not await written():
            await asyncio.sleep(0)
    line.cut()
    with pytest.raises(UnavailableError):
        await task


async def claim(session: Session, daemon: UUID) -> None:
    claimer = Claimer(daemon_id=daemon, schema="jobservice", submissions_published=False)
    async with session.use() as connection:
        await claimer.claim(connection, queue="default", slots=10, skipped_classes=(), charges={})


async def test_jobs_of_a_claim_whose_answer_was_lost_are_found_handed_back_and_cost_no_attempt(
    connection: asyncpg.Connection, line: LossyLine, session: Session, writer: StatusWriter, daemon: UUID
) -> None:
    jobs = [await make_job(connection) for _ in range(3)]
    await session_knows_the_claim(session, daemon)
    relay = RelayStub()
    comparison = Comparison(
        session=session, daemons=Daemons(schema="jobservice"), outbox=Outbox(schema="jobservice"), daemon_id=daemon,
        in_flight=InFlight(log=structlog.get_logger(), released=lambda _: None), writer=writer, relay=relay,
    )  # fmt: skip
    line.lose_answers()
    await answer_lost(claim(session, daemon), line, lambda: all_are(connection, "TO_BE_RUN"))

    await comparison.run_once()
    await writer.run_once()
    await comparison.run_once()

    for job_id in jobs:
        row = await row_of(connection, job_id)
        assert (row["status"], row["run"], row["attempt"], row["lost_runs"]) == ("QUEUED", 1, 0, 0)
    await check_histories(connection, born=1)
    assert relay.reasons == ["own outbox rows that memory does not hold"]


async def session_knows_the_claim(session: Session, daemon: UUID) -> None:
    """One claim of an empty queue, so that the statement is prepared: the next one is a single message."""
    async with session.use() as connection:
        await connection.execute("INSERT INTO jobservice.queue (queue) VALUES ('empty')")
        claimer = Claimer(daemon_id=daemon, schema="jobservice", submissions_published=False)
        await claimer.claim(connection, queue="empty", slots=1, skipped_classes=(), charges={})


async def all_are(connection: asyncpg.Connection, status: str) -> bool:
    return bool(await connection.fetchval("SELECT bool_and(status = $1) FROM jobservice.job_info", status))


@pytest.mark.parametrize(
    ("outcome", "status"), [(Succeeded(result="[1]"), "SUCCEEDED"), (Failed("ValueError", "no"), "FAILED")]
)
async def test_a_flush_whose_answer_was_lost_is_sent_again_and_finds_its_work_done(
    *,
    connection: asyncpg.Connection,
    line: LossyLine,
    writer: StatusWriter,
    told: Any,
    daemon: UUID,
    outcome: Any,
    status: str,
) -> None:
    jobs = [await make_job(connection, RUNNING, daemon=daemon) for _ in range(3)]
    await writer_knows_the_flush(writer, connection, daemon)
    for job_id in jobs:
        writer.finish(held_run(job_id, 1), outcome)
    line.lose_answers()
    await answer_lost(writer.run_once(), line, lambda: those_are(connection, jobs, status))
    before = [await row_of(connection, job_id) for job_id in jobs], await outbox_rows(connection)
    told.settled_runs.clear()

    await writer.run_once()

    assert ([await row_of(connection, job_id) for job_id in jobs], await outbox_rows(connection)) == before
    assert sorted(told.settled_runs) == sorted((job_id, 1, JobStatus(status)) for job_id in jobs)
    assert told.stale_runs == []
    assert writer.waiting == 0


async def writer_knows_the_flush(writer: StatusWriter, connection: asyncpg.Connection, daemon: UUID) -> None:
    """One flush, so that the statement is prepared: the next one is a single message."""
    job_id = await make_job(connection, RUNNING, daemon=daemon)
    writer.finish(held_run(job_id, 1), Succeeded())
    await writer.run_once()


async def those_are(connection: asyncpg.Connection, jobs: list[UUID], status: str) -> bool:
    return bool(
        await connection.fetchval(
            "SELECT bool_and(status = $1) FROM jobservice.job_info WHERE id = ANY ($2)", status, jobs
        )
    )


async def test_a_flush_that_never_arrived_is_sent_again_and_written_once(
    connection: asyncpg.Connection, line: LossyLine, writer: StatusWriter, told: Any, daemon: UUID
) -> None:
    job_id = await make_job(connection, RUNNING, daemon=daemon)
    writer.finish(held_run(job_id, 1), Succeeded())
    async with connection.transaction():
        await connection.execute("LOCK TABLE jobservice.job_info IN ACCESS EXCLUSIVE MODE")
        flush = asyncio.create_task(writer.run_once())
        await someone_waits(connection)
        line.cut()
        with pytest.raises(UnavailableError):
            await flush
        await end_others(connection)

    await writer.run_once()

    assert (await row_of(connection, job_id))["status"] == "SUCCEEDED"
    assert told.settled_runs == [(job_id, 1, JobStatus.SUCCEEDED)]
    assert len(told.committed) == 1
    await check_histories(connection, born=3)


async def someone_waits(connection: asyncpg.Connection) -> None:
    async with asyncio.timeout(60):
        while not await connection.fetchval(
            "SELECT EXISTS (SELECT FROM pg_stat_activity WHERE pg_backend_pid() = ANY (pg_blocking_pids(pid)))"
        ):
            await asyncio.sleep(0)


async def end_others(connection: asyncpg.Connection) -> None:
    """The server finds out by itself that a client has gone, but not while it waits for a lock."""
    await connection.execute(
        """SELECT pg_terminate_backend(pid, 10000) FROM pg_stat_activity
           WHERE datname = current_database() AND pid <> pg_backend_pid() AND backend_type = 'client backend'"""
    )


async def test_a_success_whose_commit_was_not_answered_has_submitted_its_next_job_once(
    connection: asyncpg.Connection, line: LossyLine, writer: StatusWriter, told: Any, daemon: UUID
) -> None:
    job_id = await make_job(connection, RUNNING, daemon=daemon)
    writer.finish(held_run(job_id, 1), Succeeded(next_jobs='[{"job_class": "Next"}]'))
    line.lose_answers(to=b"COMMIT")
    await answer_lost(writer.run_once(), line, lambda: those_are(connection, [job_id], "SUCCEEDED"))

    await writer.run_once()

    rows = await connection.fetch("SELECT job_class, status FROM jobservice.job_info ORDER BY number")
    assert [tuple(row) for row in rows] == [("Nap", "SUCCEEDED"), ("Next", "QUEUED")]
    assert told.settled_runs == [(job_id, 1, JobStatus.SUCCEEDED)]


async def test_a_success_that_did_not_get_to_its_commit_has_submitted_nothing(
    connection: asyncpg.Connection, line: LossyLine, writer: StatusWriter, daemon: UUID
) -> None:
    job_id = await make_job(connection, RUNNING, daemon=daemon)
    writer.finish(held_run(job_id, 1), Succeeded(next_jobs='[{"job_class": "Next"}]'))
    async with connection.transaction():
        await connection.execute("LOCK TABLE jobservice.setting IN ACCESS EXCLUSIVE MODE")
        flush = asyncio.create_task(writer.run_once())
        await someone_waits(connection)  # in `submit`, after the end was written
        line.cut()
        with pytest.raises(UnavailableError):
            await flush
        await end_others(connection)
    cut = await connection.fetch("SELECT job_class, status FROM jobservice.job_info ORDER BY number")

    await writer.run_once()

    again = await connection.fetch("SELECT job_class, status FROM jobservice.job_info ORDER BY number")
    assert [tuple(row) for row in cut] == [("Nap", "RUNNING")]
    assert [tuple(row) for row in again] == [("Nap", "SUCCEEDED"), ("Next", "QUEUED")]


async def test_a_submission_whose_answer_was_lost_gives_the_same_job_when_it_is_asked_again(
    connection: asyncpg.Connection, line: LossyLine, session: Session
) -> None:
    jobs = '[{"job_class": "Nap", "idempotency_key": "once"}]'
    submitter = Submitter()
    await submit(session, submitter, "[]")
    line.lose_answers()
    await answer_lost(submit(session, submitter, jobs), line, lambda: all_are(connection, "QUEUED"))

    async with session.use() as again:
        ((job_id, created),) = await submitter.submit(again, jobs)

    assert not created
    assert [row["id"] for row in await connection.fetch("SELECT id FROM jobservice.job_info")] == [job_id]


async def submit(session: Session, submitter: Submitter, jobs: str) -> None:
    async with session.use() as connection:
        await submitter.submit(connection, jobs)
