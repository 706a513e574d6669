"""What claims put aside while the hold is in other hands: it stands before nobody, and nothing of it stays behind."""

from uuid import UUID

import asyncpg
import pytest
from crew import Crew
from factory import SETTLER, make_job
from pipe_books import command, submit

HOLD = "SELECT FROM jobservice.pipeline WHERE id = $1 FOR NO KEY UPDATE"
MANY = 1500
"""More than one claim looks at."""


async def claimed_in_the_end(crew: Crew) -> list[UUID]:
    """The jobs of the first claim that brought some; a daemon's scheduler asks again as often."""
    for _ in range(10):
        if runs := await crew.claim(10):
            return [run.job_id for run in runs]
    return []


async def test_a_paused_pipeline_that_a_client_holds_does_not_starve_the_other_jobs_of_its_tenant(
    crew: Crew, connection: asyncpg.Connection
) -> None:
    paused = await submit(connection, MANY, priority=9, tenant="acme")
    await command(connection, "pause", paused)
    other = await make_job(connection, tenant="acme")

    async with connection.transaction():
        await connection.execute(HOLD, paused)
        claimed = await claimed_in_the_end(crew)

    assert claimed == [other]


@pytest.mark.parametrize("how", ["COMMIT", "ROLLBACK"])
async def test_what_was_put_aside_while_a_client_resumed_runs_once_it_has_committed_and_not_if_it_has_not(
    crew: Crew, connection: asyncpg.Connection, how: str
) -> None:
    paused = await submit(connection, MANY, tenant="acme")
    await command(connection, "pause", paused)

    await connection.execute("BEGIN")
    await command(connection, "resume", paused)
    assert await claimed_in_the_end(crew) == []
    await SETTLER.settle_next(crew.connection)
    await connection.execute(how)

    assert await crew.work_all() == (MANY if how == "COMMIT" else 0)
    assert await connection.fetchval("SELECT count(*) FROM jobservice.doubtful_hold") == 0


@pytest.mark.parametrize("how", ["COMMIT", "ROLLBACK"])
async def test_a_held_class_that_a_client_is_about_to_release_does_not_starve_the_other_jobs_of_its_tenants(
    crew: Crew, connection: asyncpg.Connection, how: str
) -> None:
    await submit(connection, MANY, priority=9, tenant="acme")
    await connection.execute("SELECT jobservice.hold_class('Nap')")
    other = await make_job(connection, tenant="acme", job_class="Other")

    await connection.execute("BEGIN")
    await connection.execute("SELECT jobservice.release_class('Nap')")
    claimed = await claimed_in_the_end(crew)
    await SETTLER.settle_next(crew.connection)
    await connection.execute(how)

    assert claimed == [other]
    assert await crew.work_all() == (MANY if how == "COMMIT" else 0)
    assert await connection.fetchval("SELECT count(*) FROM jobservice.doubtful_hold") == 0


async def test_a_job_that_somebody_holds_while_its_class_is_looked_at_again_is_not_left_behind(
    crew: Crew, connection: asyncpg.Connection
) -> None:
    await submit(connection, 60, tenant="acme")
    await connection.execute("SELECT jobservice.hold_class('Nap')")
    await connection.execute("BEGIN")
    await connection.execute("SELECT jobservice.release_class('Nap')")
    assert await claimed_in_the_end(crew) == []
    await connection.execute("COMMIT")

    async with connection.transaction():
        await connection.execute("SELECT FROM jobservice.job_info WHERE on_hold LIMIT 1 FOR UPDATE")
        await SETTLER.settle_next(crew.connection)
        assert await crew.work() == 59

    assert await crew.work_all() == 1
