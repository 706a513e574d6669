"""Pipelines that ended long ago go with all that belongs to them, in bounded batches; those that nobody starts end."""

from collections.abc import AsyncIterator
from uuid import UUID

import asyncpg
import pytest
from crew import NO, Crew
from factory import SETTLER
from pipe_books import command, jobs, pipeline, stages, standing, submit

from jobservice.domain.outcomes import Retried
from jobservice.lifecycle.upkeep import Upkeep
from jobservice.maintenance.retention import INTERVAL, PAUSE_BETWEEN_BATCHES, Retention
from jobservice.store.session import Session
from jobservice.workflow.cleaning import JOBS_AT_ONCE, PipelineCleaner

DAY = 86_400.0
TABLES = ("pipeline", "stage", "job_info", "job_run", "idempotency_key")


@pytest.fixture
async def session(database_url: str) -> AsyncIterator[Session]:
    session = Session(url=database_url, name="retention")
    yield session
    await session.close()


def retention(session: Session, *, succeeded: float = DAY, failed: float = DAY, pending: float = 0.0) -> Retention:
    return Retention(
        session=session, upkeep=Upkeep(schema="jobservice", follower=SETTLER),
        cleaner=PipelineCleaner(schema="jobservice"), succeeded=succeeded, failed=failed, pending=pending,
        instances=0.0,
    )  # fmt: skip


async def age(connection: asyncpg.Connection, pipeline_id: UUID, hours: int = 25) -> None:
    """All of it ended, and was published, so long ago."""
    await connection.execute(
        f"""UPDATE jobservice.pipeline SET stop_date = stop_date - interval '{hours} hours' WHERE id = $1""",
        pipeline_id,
    )
    await connection.execute("DELETE FROM jobservice.outbox")
    await connection.execute("DELETE FROM jobservice.pipeline_outbox")


async def counts(connection: asyncpg.Connection) -> list[int]:
    return [await connection.fetchval(f"SELECT count(*) FROM jobservice.{table}") for table in TABLES]


async def test_a_pipeline_goes_with_its_stages_jobs_runs_and_keys_and_a_later_one_stays(
    crew: Crew, session: Session
) -> None:
    old = await submit(crew.connection, 2, {"jobs": jobs(1, idempotency_key="a")}, idempotency_key="old")
    await crew.work(1, Retried(NO, 0.0))
    await crew.work_all()
    later = await submit(crew.connection, 1)
    await crew.work_all()
    await age(crew.connection, old)
    await age(crew.connection, later, hours=23)

    assert await retention(session).run_once() == INTERVAL

    assert await counts(crew.connection) == [1, 1, 1, 0, 0]
    assert await standing(crew.connection, later) == ("SUCCEEDED", ["SUCCEEDED"])


async def test_failed_ones_are_kept_for_as_long_as_failed_jobs(crew: Crew, session: Session) -> None:
    failed, stopped = await submit(crew.connection, 1), await submit(crew.connection, 1)
    await command(crew.connection, "stop", stopped)
    await crew.work(outcome=NO)
    await age(crew.connection, failed)
    await age(crew.connection, stopped)

    await retention(session, failed=2 * DAY).run_once()
    assert (await counts(crew.connection))[0] == 2
    await retention(session).run_once()

    assert await counts(crew.connection) == [0] * 5


async def test_a_large_one_goes_in_batches_and_is_not_restarted_while_it_goes(crew: Crew, session: Session) -> None:
    p = await submit(crew.connection, JOBS_AT_ONCE, 500)
    await command(crew.connection, "stop", p)
    await crew.go_on()
    await age(crew.connection, p)

    assert await retention(session).run_once() == PAUSE_BETWEEN_BATCHES
    assert (await counts(crew.connection))[2] == 500
    refused = await command(crew.connection, "restart", p)
    await retention(session).run_once()

    assert (refused["accepted"], refused["code"]) == (False, "not_legal")
    assert refused["reason"] == "its time has passed: its jobs are being deleted"
    assert await counts(crew.connection) == [0] * 5


async def test_one_with_a_locked_job_stays_as_a_whole_until_it_is_unlocked(crew: Crew, session: Session) -> None:
    p = await submit(crew.connection, 2, {"jobs": jobs(1, locked=True)})
    await crew.work_all()
    await age(crew.connection, p)

    await retention(session).run_once()
    assert (await counts(crew.connection))[:3] == [1, 2, 3]
    await crew.connection.execute("UPDATE jobservice.job_info SET locked = false")
    await retention(session).run_once()

    assert await counts(crew.connection) == [0] * 5


@pytest.mark.parametrize("outbox", ["outbox", "pipeline_outbox"])
async def test_one_of_which_events_may_be_unpublished_stays(crew: Crew, session: Session, outbox: str) -> None:
    p = await submit(crew.connection, 1)
    await crew.work_all()
    await age(crew.connection, p)
    await submit(crew.connection, 1)
    await crew.work(outcome=NO)
    await crew.connection.execute(f"UPDATE jobservice.{outbox} SET created_at = now() - interval '26 hours'")

    await retention(session).run_once()

    assert await pipeline(crew.connection, p) is not None


async def test_one_that_nobody_starts_is_stopped_after_retention_pending_and_its_jobs_with_it(
    crew: Crew, session: Session
) -> None:
    forgotten = await submit(crew.connection, 2, status="PENDING")
    await crew.connection.execute("UPDATE jobservice.pipeline SET created_date = created_date - interval '2 hours'")
    young = await submit(crew.connection, 2, status="PENDING")

    await retention(session, pending=3600.0).run_once()

    assert await standing(crew.connection, forgotten) == ("ABORTED", ["ABORTED"])
    assert (await pipeline(crew.connection, forgotten))["reason"] == "held for longer than retention.pending"
    assert (await stages(crew.connection, forgotten))[0]["aborted"] == 2
    assert await standing(crew.connection, young) == ("PENDING", ["PENDING"])


async def test_a_pipeline_is_not_deleted_while_events_of_its_jobs_are_unpublished(crew: Crew) -> None:
    p = await submit(crew.connection, 1)
    await crew.work_all()

    refused = await command(crew.connection, "delete", p)
    await crew.connection.execute("DELETE FROM jobservice.outbox")
    accepted = await command(crew.connection, "delete", p)

    assert (refused["accepted"], refused["code"], refused["status"]) == (False, "not_legal", "SUCCEEDED")
    assert refused["reason"] == "events of its jobs are not published yet; try again when they are"
    assert accepted["accepted"]
    assert await counts(crew.connection) == [0] * 5
