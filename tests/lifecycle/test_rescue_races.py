"""Rescue, late flush, claim and stop at the same time: one decides, nobody waits for ever, nothing is written over."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any
from uuid import UUID

import asyncpg
import pytest
from factory import SETTLER, held_run, make_daemon, make_job, outbox_rows, row_of
from histories import check_histories
from races import begun

from jobservice.domain.outcomes import HandedBack, Succeeded
from jobservice.domain.states import JobStatus
from jobservice.lifecycle.claim import Claimer
from jobservice.lifecycle.commands import Commands
from jobservice.lifecycle.rescue import Rescuer

RUNNING, TO_BE_RUN = JobStatus.RUNNING, JobStatus.TO_BE_RUN


@pytest.fixture
def rescuer() -> Rescuer:
    return Rescuer(schema="jobservice", max_lost_runs=3, follower=SETTLER)


async def lose(connection: asyncpg.Connection, daemon: UUID) -> None:
    await connection.execute("UPDATE jobservice.daemon SET lost_at = clock_timestamp() WHERE id = $1", daemon)


async def test_a_late_finish_after_a_rescue_changes_nothing(
    connection: asyncpg.Connection, daemon: UUID, writer_of: Any, rescuer: Rescuer
) -> None:
    job_id = await make_job(connection, RUNNING, daemon=daemon)
    await lose(connection, daemon)
    await rescuer.rescue(connection)
    before, told_before = await row_of(connection, job_id), await outbox_rows(connection)
    writer, told = writer_of(daemon)

    writer.finish(held_run(job_id, 1), Succeeded())
    await writer.run_once()

    assert await row_of(connection, job_id) == before
    assert await outbox_rows(connection) == told_before
    assert told.stale_runs == [(job_id, 1, "QUEUED")]


async def test_a_rescue_passes_by_what_a_late_finish_holds_and_the_finish_decides(
    connection: asyncpg.Connection, connect: Any, daemon: UUID, rescuer: Rescuer
) -> None:
    job_id = await make_job(connection, RUNNING, daemon=daemon)
    await lose(connection, daemon)
    late = await connect()

    async with late.transaction():
        await finish_by_hand(late, daemon, job_id)
        await rescuer.rescue(connection)
    await rescuer.rescue(connection)

    row = await row_of(connection, job_id)
    assert (row["status"], row["sequence"], row["lost_runs"]) == ("SUCCEEDED", 4, 0)


async def finish_by_hand(session: asyncpg.Connection, daemon: UUID, job_id: UUID) -> None:
    """The guarded update of a flush, in a transaction that the test holds open."""
    await session.execute(
        """UPDATE jobservice.job_info SET status = 'SUCCEEDED', stop_date = clock_timestamp(), percent_completed = 100,
                  sequence = sequence + 1
           WHERE id = $1 AND daemon_id = $2 AND status = 'RUNNING'""",
        job_id, daemon,
    )  # fmt: skip


async def test_a_late_finish_passes_by_what_a_rescue_holds_and_is_stale_once_that_is_committed(
    connection: asyncpg.Connection, connect: Any, daemon: UUID, writer_of: Any, rescuer: Rescuer
) -> None:
    job_id = await make_job(connection, RUNNING, daemon=daemon)
    other = await make_job(connection, RUNNING)
    await connection.execute("UPDATE jobservice.job_info SET daemon_id = $1", daemon)
    rescuing = await connect()
    writer, told = writer_of(daemon)

    async with rescuing.transaction():
        await lose(rescuing, daemon)
        await connection.execute("UPDATE jobservice.job_info SET locked = true WHERE id = $1", other)
        await rescuer.rescue(rescuing)
        writer.finish(held_run(job_id, 1), Succeeded())
        waits = await writer.run_once()
        meanwhile = list(told.stale_runs)
    await writer.run_once()

    assert waits is not None
    assert meanwhile == []
    assert told.stale_runs == [(job_id, 1, "QUEUED")]
    assert (await row_of(connection, job_id))["status"] == "QUEUED"


@asynccontextmanager
async def updates_held_up(connection: asyncpg.Connection, session_name: str, job_id: UUID) -> AsyncIterator[None]:
    """While the block runs, that session stops in its update of this job, with the rows locked that it has so far."""
    await connection.execute(
        f"""CREATE FUNCTION jobservice.hold_up() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
              IF current_setting('application_name') = '{session_name}' AND NEW.id = '{job_id}' THEN
                PERFORM pg_advisory_xact_lock(4711);
              END IF;
              RETURN NEW;
            END $$;
            CREATE TRIGGER hold_up BEFORE UPDATE ON jobservice.job_info
              FOR EACH ROW EXECUTE FUNCTION jobservice.hold_up();
            SELECT pg_advisory_lock(4711)"""
    )
    try:
        yield
    finally:
        await connection.execute("SELECT pg_advisory_unlock(4711)")


async def forget_holding_up(connection: asyncpg.Connection) -> None:
    await connection.execute("DROP FUNCTION jobservice.hold_up CASCADE")


async def test_a_slow_rescue_does_not_take_a_job_from_a_living_daemon_that_has_claimed_it_meanwhile(
    connection: asyncpg.Connection, connect: Any, daemon: UUID, rescuer: Rescuer
) -> None:
    first = await make_job(connection, RUNNING, daemon=daemon, id=UUID(int=1))
    second = await make_job(connection, RUNNING, daemon=daemon, id=UUID(int=2), priority=1)
    await lose(connection, daemon)
    living = await make_daemon(connection)
    slow, quick = await connect(), await connect()
    # Row by row: what the planner chooses by itself on a large table.
    await slow.execute("SET application_name = 'slow'; SET enable_hashjoin = off; SET enable_mergejoin = off")

    async with updates_held_up(connection, "slow", first):
        rescue = await begun(rescuer.rescue(slow), slow, connection)
        await rescuer.rescue(quick)
        claimer = Claimer(daemon_id=living, schema="jobservice", submissions_published=False)
        claim = await claimer.claim(quick, queue="default", slots=1, skipped_classes=(), charges={})
    await rescue
    await forget_holding_up(connection)

    row = await row_of(connection, second)
    assert [job.card.job_id for job in claim.jobs] == [second]
    assert (row["status"], row["daemon_id"], row["run"], row["lost_runs"]) == ("TO_BE_RUN", living, 2, 1)


async def test_late_finishes_rescues_and_stops_of_the_same_jobs_never_deadlock_and_each_job_has_one_next_status(
    connection: asyncpg.Connection, connect: Any, daemon: UUID, writer_of: Any, rescuer: Rescuer
) -> None:
    sessions = [await connect() for _ in range(4)]
    writer, told = writer_of(daemon)
    await connection.execute("UPDATE jobservice.daemon SET stopped_at = clock_timestamp()")

    for _ in range(10):
        jobs = [await make_job(connection, RUNNING, daemon=daemon) for _ in range(30)]
        for job_id in jobs:
            writer.finish(held_run(job_id, 1), Succeeded())
        await asyncio.gather(
            writer.run_once(),
            rescuer.rescue(sessions[0]),
            rescuer.rescue(sessions[1]),
            Commands().stop(sessions[2], jobs[::-1]),
            Commands().stop(sessions[3], jobs),
        )
        while writer.waiting:
            await writer.run_once()
        await rescuer.rescue(connection)

    await check_histories(connection, born=3)
    rows = await connection.fetch("SELECT id, status, run FROM jobservice.job_info")
    seen = {row["status"] for row in rows}
    assert seen <= {"SUCCEEDED", "QUEUED", "ABORTED"}
    settled = {job_id for job_id, _, _ in told.settled_runs}
    assert settled == {row["id"] for row in rows if row["status"] == "SUCCEEDED"}


async def test_a_stop_mark_that_was_set_before_the_start_was_committed_comes_back_with_it(
    connection: asyncpg.Connection, daemon: UUID, writer_of: Any
) -> None:
    job_id = await make_job(connection, TO_BE_RUN, daemon=daemon)
    await Commands().stop(connection, [job_id])
    writer, told = writer_of(daemon)

    writer.start(held_run(job_id, 1, started_at=0.0))
    await writer.run_once()

    assert told.stop_marks == [(job_id, 1)]


@pytest.mark.parametrize("way", ["hand_back", "rescue"])
async def test_a_job_with_a_stop_mark_is_never_queued_again(
    connection: asyncpg.Connection, daemon: UUID, writer_of: Any, rescuer: Rescuer, way: str
) -> None:
    job_id = await make_job(connection, RUNNING, daemon=daemon)
    await Commands().stop(connection, [job_id], reason="enough")

    if way == "hand_back":
        writer, _ = writer_of(daemon)
        writer.finish(held_run(job_id, 1), HandedBack("drain"))
        await writer.run_once()
    else:
        await lose(connection, daemon)
        await rescuer.rescue(connection)

    row = await row_of(connection, job_id)
    assert (row["status"], row["stop_reason"], row["run"]) == ("ABORTED", "enough", 1)


async def test_a_heartbeat_in_between_saves_a_daemon_that_was_watched_standing_still(
    connection: asyncpg.Connection, daemon: UUID, rescuer: Rescuer
) -> None:
    job_id = await make_job(connection, RUNNING, daemon=daemon)
    await connection.execute("UPDATE jobservice.daemon SET counter = 8")

    marked = await rescuer.mark_lost_and_rescue(connection, daemon, 7)

    assert not marked
    assert (await row_of(connection, job_id))["status"] == "RUNNING"
    assert await connection.fetchval("SELECT lost_at FROM jobservice.daemon") is None


async def test_the_lost_mark_and_the_rescue_come_together(
    connection: asyncpg.Connection, connect: Any, daemon: UUID, rescuer: Rescuer
) -> None:
    job_id = await make_job(connection, RUNNING, daemon=daemon)
    rescuing = await connect()

    async with rescuing.transaction():
        marked = await rescuer.mark_lost_and_rescue(rescuing, daemon, 0)
        outside = await connection.fetchval("SELECT lost_at FROM jobservice.daemon"), await row_of(connection, job_id)

    assert marked
    assert outside[0] is None
    assert outside[1]["status"] == "RUNNING"
    assert await connection.fetchval("SELECT lost_at FROM jobservice.daemon") is not None
    assert (await row_of(connection, job_id))["status"] == "QUEUED"


@pytest.mark.parametrize("status", [TO_BE_RUN, RUNNING])
async def test_a_job_that_was_lost_three_times_fails_and_says_so(
    connection: asyncpg.Connection, rescuer: Rescuer, status: JobStatus
) -> None:
    gone = UUID(int=9)
    job_id = await make_job(connection, status, daemon=gone, lost_runs=2, attempt=1)

    await rescuer.rescue(connection)

    row = await row_of(connection, job_id)
    assert (row["status"], row["error_type"], row["lost_runs"]) == ("FAILED", "LostTooOften", 3)
    assert "lost 3 times" in row["error_message"]
    assert str(gone) in row["error_message"]


async def test_what_a_daemon_left_behind_in_good_order_counts_as_handed_back(
    connection: asyncpg.Connection, rescuer: Rescuer
) -> None:
    gone = await make_daemon(connection, ended="stopped_at")
    job_id = await make_job(connection, RUNNING, daemon=gone, lost_runs=2, attempt=1)

    await rescuer.rescue(connection)

    row = await row_of(connection, job_id)
    assert (row["status"], row["attempt"], row["lost_runs"]) == ("QUEUED", 0, 2)
    assert await connection.fetchval("SELECT ending FROM jobservice.job_run WHERE job_id = $1", job_id) == "handed_back"


async def test_hand_backs_count_neither_as_attempts_nor_as_losses(
    connection: asyncpg.Connection, daemon: UUID, writer_of: Any
) -> None:
    job_id = await make_job(connection)
    claimer = Claimer(daemon_id=daemon, schema="jobservice", submissions_published=False)
    writer, _ = writer_of(daemon)

    for run in range(1, 6):
        await claimer.claim(connection, queue="default", slots=1, skipped_classes=(), charges={})
        writer.finish(held_run(job_id, run, started_at=0.0), HandedBack("drain"))
        await writer.run_once()

    row = await row_of(connection, job_id)
    assert (row["status"], row["run"], row["attempt"], row["lost_runs"]) == ("QUEUED", 5, 0, 0)
    runs = await connection.fetch("SELECT run, attempt, ending FROM jobservice.job_run ORDER BY run")
    assert [tuple(run) for run in runs] == [(n, 1, "handed_back") for n in range(1, 6)]
