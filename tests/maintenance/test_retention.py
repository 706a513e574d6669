"""What is deleted after its time, with all that belongs to it, and what never is."""

from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import asyncpg
import pytest
from factory import SETTLER, make_daemon, make_job, row_of

from jobservice.domain.states import FINAL, LIVE, WAITING, JobStatus
from jobservice.lifecycle import upkeep
from jobservice.lifecycle.commands import Commands
from jobservice.lifecycle.submission import Submitter
from jobservice.lifecycle.upkeep import Upkeep
from jobservice.maintenance.retention import INTERVAL, PAUSE_BETWEEN_BATCHES, Retention
from jobservice.store.session import Session
from jobservice.workflow.cleaning import PipelineCleaner

DAY = 86_400.0
SUCCEEDED, FAILED, ABORTED, PENDING = JobStatus.SUCCEEDED, JobStatus.FAILED, JobStatus.ABORTED, JobStatus.PENDING


def retention(session: Session, **kept: float) -> Retention:
    seconds = {"succeeded": DAY, "failed": DAY, "pending": 0.0, "instances": 365 * DAY} | kept
    upkeep = Upkeep(schema="jobservice", follower=SETTLER)
    return Retention(session=session, upkeep=upkeep, cleaner=PipelineCleaner(schema="jobservice"), **seconds)


def ago(**how_long: float) -> datetime:
    return datetime.now(UTC) - timedelta(**how_long)


async def left(connection: asyncpg.Connection) -> set[UUID]:
    return {row["id"] for row in await connection.fetch("SELECT id FROM jobservice.job_info")}


@pytest.mark.parametrize("status", sorted(FINAL))
async def test_a_job_that_ended_longer_ago_than_is_kept_goes_and_a_later_one_stays(
    connection: asyncpg.Connection, session: Session, status: JobStatus
) -> None:
    await make_job(connection, status, stop_date=ago(hours=25))
    later = await make_job(connection, status, stop_date=ago(hours=23))

    await retention(session).run_once()

    assert await left(connection) == {later}


async def test_each_kind_is_kept_for_its_own_time_and_zero_keeps_for_ever(
    connection: asyncpg.Connection, session: Session
) -> None:
    succeeded, failed, aborted = [
        await make_job(connection, s, stop_date=ago(days=9)) for s in (SUCCEEDED, FAILED, ABORTED)
    ]

    await retention(session, succeeded=0.0, failed=10 * DAY).run_once()
    all_kept = await left(connection)
    await retention(session, succeeded=0.0, failed=8 * DAY).run_once()

    assert all_kept == {succeeded, failed, aborted}
    assert await left(connection) == {succeeded}


@pytest.mark.parametrize("status", sorted(WAITING | LIVE))
async def test_a_job_that_has_not_ended_is_never_deleted_however_old(
    connection: asyncpg.Connection, session: Session, status: JobStatus
) -> None:
    job_id = await make_job(connection, status, created_date=ago(days=1000))

    await retention(session).run_once()

    assert await left(connection) == {job_id}


@pytest.mark.parametrize("status", sorted(FINAL))
async def test_a_locked_job_is_never_deleted_until_it_is_unlocked(
    connection: asyncpg.Connection, session: Session, status: JobStatus
) -> None:
    job_id = await make_job(connection, status)
    await Commands().lock(connection, [job_id])

    await retention(session).run_once()
    locked = await left(connection)
    await Commands().unlock(connection, [job_id])
    await retention(session).run_once()

    assert locked == {job_id}
    assert await left(connection) == set()


async def test_a_job_whose_facts_are_not_yet_published_is_left_alone(
    connection: asyncpg.Connection, session: Session
) -> None:
    """The oldest outbox row tells of this very end: it was written a moment after the date that it tells of."""
    job_id = await make_job(connection)
    await Commands().stop(connection, [job_id])
    removing = retention(session, failed=1e-9)

    await removing.run_once()
    unpublished = await left(connection)
    await connection.execute("DELETE FROM jobservice.outbox")
    await removing.run_once()

    assert unpublished == {job_id}
    assert await left(connection) == set()


async def test_with_a_job_go_its_idempotency_key_and_its_runs_and_nobody_elses(
    connection: asyncpg.Connection, session: Session
) -> None:
    written = '[{"job_class": "Nap", "idempotency_key": "old"}, {"job_class": "Nap", "idempotency_key": "new"}]'
    (old, _), (new, _) = await Submitter().submit(connection, written)
    for job_id in (old, new):
        await connection.execute(
            "INSERT INTO jobservice.job_run VALUES ($1, 1, 1, null, null, null, now(), 'lost')", job_id
        )
    await connection.execute(
        "UPDATE jobservice.job_info SET status = 'ABORTED', stop_date = $2 WHERE id = $1", old, ago(days=2)
    )

    await retention(session).run_once()
    ((again, created), (same, _)) = await Submitter().submit(connection, written)

    assert [row["job_id"] for row in await connection.fetch("SELECT job_id FROM jobservice.job_run")] == [new]
    assert created
    assert again != old
    assert same == new


async def test_a_full_batch_is_followed_by_the_next_one_soon(
    connection: asyncpg.Connection, session: Session, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(upkeep, "BATCH", 3)
    monkeypatch.setattr("jobservice.maintenance.retention.BATCH", 3)
    for _ in range(4):
        await make_job(connection, SUCCEEDED)
    removing = retention(session)

    waits = [await removing.run_once() for _ in range(2)]

    assert waits == [PAUSE_BETWEEN_BATCHES, INTERVAL]
    assert await left(connection) == set()


async def test_a_job_that_a_client_restarts_meanwhile_is_not_deleted(
    connection: asyncpg.Connection, session: Session
) -> None:
    job_id = await make_job(connection, FAILED)

    async with connection.transaction():
        await Commands().restart(connection, [job_id])
        await retention(session).run_once()
    await retention(session).run_once()

    assert (await row_of(connection, job_id))["status"] == "QUEUED"


@pytest.mark.parametrize(
    ("columns", "status"),
    [
        ({}, "ABORTED"),
        ({"locked": True}, "PENDING"),
        ({"held": "trigger", "trigger_after_date": datetime(2100, 1, 1, tzinfo=UTC)}, "PENDING"),
        ({"held": "stage"}, "PENDING"),
        ({"created_date": ago(hours=1)}, "PENDING"),
    ],
    ids=["held by a user", "locked", "with a trigger date", "in a closed stage", "young"],
)
async def test_of_the_jobs_that_wait_only_those_that_a_user_forgot_are_stopped(
    connection: asyncpg.Connection, session: Session, columns: dict[str, Any], status: str
) -> None:
    job_id = await make_job(connection, PENDING, **columns)

    await retention(session, pending=DAY).run_once()

    row = await row_of(connection, job_id)
    assert row["status"] == status
    assert (row["stop_reason"] == "held for longer than retention.pending") == (status == "ABORTED")


async def test_a_daemon_that_ended_long_ago_is_forgotten_unless_something_still_names_it(
    connection: asyncpg.Connection, session: Session
) -> None:
    forgotten = await make_daemon(connection, ended="stopped_at")
    with_jobs = await make_daemon(connection, ended="lost_at")
    with_facts = await make_daemon(connection, ended="lost_at")
    alive = await make_daemon(connection)
    await make_job(connection, JobStatus.RUNNING, daemon=with_jobs)
    await connection.execute(
        """INSERT INTO jobservice.outbox (daemon_id, job_ids, sequences, runs, attempts, statuses, previous, times,
                                          priorities, percents, details)
           VALUES ($1, '{}', '{}', '{}', '{}', '{}', '{}', '{}', '{}', '{}', '{}')""",
        with_facts,
    )

    await retention(session).run_once()

    kept = {row["id"] for row in await connection.fetch("SELECT id FROM jobservice.daemon")}
    assert kept == {with_jobs, with_facts, alive}
    assert forgotten not in kept
