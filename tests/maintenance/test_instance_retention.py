"""Instances of jobs with steps go when they are old and no job of theirs is left, with all that is told of them."""

from uuid import UUID, uuid4

import asyncpg
import pytest
from factory import SETTLER, make_job

from jobservice.domain.states import JobStatus
from jobservice.lifecycle import upkeep
from jobservice.lifecycle.upkeep import Upkeep
from jobservice.maintenance.retention import Retention
from jobservice.store.session import Session
from jobservice.workflow.cleaning import PipelineCleaner

DAY = 86_400.0


def retention(session: Session, instances: float = 365 * DAY) -> Retention:
    return Retention(
        session=session, upkeep=Upkeep(schema="jobservice", follower=SETTLER),
        cleaner=PipelineCleaner(schema="jobservice"), succeeded=0.0, failed=0.0, pending=0.0, instances=instances,
    )  # fmt: skip


async def make_instance(connection: asyncpg.Connection, *jobs: UUID, days: int) -> UUID:
    """Made so many days ago, executed by these jobs; with a step, and a run of it by each."""
    made = uuid4()
    await connection.execute(
        """INSERT INTO jobservice.job_instance (id, tenant, job_class, key, parameters, created_date)
           VALUES ($1::uuid, 't', 'C', $1::uuid::text, '{}', now() - make_interval(days => $2))""",
        made, days,
    )  # fmt: skip
    await connection.execute("INSERT INTO jobservice.step_execution (instance_id, step) VALUES ($1, 's')", made)
    for job in jobs:
        await connection.execute("INSERT INTO jobservice.job_execution VALUES ($1, $2, false)", job, made)
        await connection.execute("INSERT INTO jobservice.step_run VALUES ($1, 's', -1, $2, 1, 'FAILED')", made, job)
    return made


async def left(connection: asyncpg.Connection) -> set[UUID]:
    return {row["id"] for row in await connection.fetch("SELECT id FROM jobservice.job_instance")}


async def test_an_old_instance_without_jobs_goes_with_its_steps_and_runs(
    connection: asyncpg.Connection, session: Session
) -> None:
    await make_instance(connection, uuid4(), uuid4(), days=366)
    young = await make_instance(connection, uuid4(), days=364)

    await retention(session).run_once()

    assert await left(connection) == {young}
    for table in ("step_execution", "step_run", "job_execution"):
        assert await connection.fetchval(f"SELECT count(*) FROM jobservice.{table}") == 1


async def test_an_instance_with_a_job_left_stays_however_old(connection: asyncpg.Connection, session: Session) -> None:
    job = await make_job(connection, JobStatus.FAILED)
    kept = await make_instance(connection, uuid4(), job, days=4000)

    await retention(session).run_once()

    assert await left(connection) == {kept}


async def test_what_is_to_be_kept_for_ever_is(connection: asyncpg.Connection, session: Session) -> None:
    kept = await make_instance(connection, uuid4(), days=4000)

    await retention(session, instances=0.0).run_once()

    assert await left(connection) == {kept}


async def test_instances_that_stay_do_not_keep_younger_ones_from_going(
    connection: asyncpg.Connection, session: Session, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(upkeep, "INSTANCES", 2)
    jobs = [await make_job(connection, JobStatus.FAILED) for _ in range(3)]
    kept = {await make_instance(connection, job, days=900) for job in jobs}
    await make_instance(connection, uuid4(), days=800)
    cleaner = retention(session)

    for _ in range(2):
        await cleaner.run_once()

    assert await left(connection) == kept


async def test_one_that_a_job_takes_just_now_is_left_alone(
    connection: asyncpg.Connection, session: Session, database_url: str
) -> None:
    old = await make_instance(connection, uuid4(), days=900)

    async with connection.transaction():
        await connection.execute("UPDATE jobservice.job_instance SET last_job = $1", uuid4())
        await retention(session).run_once()

    assert await left(connection) == {old}
