"""What is live is told by the claims' books: all that claims made so, without a look at what has ended since."""

import json
from collections.abc import Awaitable, Callable
from uuid import UUID, uuid4

import asyncpg
import pytest
from claiming import ENTRIES, FINISH, SUBMIT, claim
from databases import Connect
from factory import make_daemon, make_job, make_queue
from impatience import replace_claim

from jobservice.domain.states import JobStatus
from jobservice.leases.full_look import FullLook
from jobservice.store.daemons import Daemons

IN_BOOKS = "SELECT array_agg(id ORDER BY id) FROM jobservice.live_in_books()"
LIVE = "SELECT array_agg(id ORDER BY id) FROM jobservice.job_info WHERE status IN ('TO_BE_RUN', 'RUNNING')"
DAEMONS = Daemons(schema="jobservice")


async def submit(connection: asyncpg.Connection, jobs: int, queue: str = "default") -> None:
    await connection.fetch(SUBMIT, json.dumps(jobs * [{"job_class": "Nap", "queue": queue}]))


@pytest.mark.parametrize("impatient", [False, True], ids=["as it is", "as under an old snapshot"])
async def test_the_books_tell_all_that_claims_made_live_and_has_not_ended(
    connection: asyncpg.Connection, daemon: UUID, impatient: bool
) -> None:
    await replace_claim(connection, impatient=impatient)
    await make_queue(connection, "other")
    try:
        for queue in ("default", "other"):
            await submit(connection, 40, queue)
        for n in range(6):
            first = await claim(connection, daemon, 4)
            await claim(connection, daemon, 1, queue="other")
            await connection.execute(FINISH, first[: n % 4 + 1])  # of each claim some go on
            assert await connection.fetchval(IN_BOOKS) == await connection.fetchval(LIVE)
        bounds = await connection.fetchval("SELECT count(*) FROM jobservice.claim_bound WHERE live_before <> '{}'")
    finally:
        await replace_claim(connection, impatient=False)

    assert (bounds > 0) == impatient


@pytest.fixture
async def aged(connection: asyncpg.Connection, daemon: UUID, connect: Connect) -> list[UUID]:
    """Jobs that have been live since before 3,000 others ended that an old snapshot still sees."""
    await submit(connection, 3_003)
    reader = await connect()
    await reader.execute("BEGIN ISOLATION LEVEL REPEATABLE READ; SELECT FROM jobservice.job_info LIMIT 1")
    live = await claim(connection, daemon, 3)
    while ids := await claim(connection, daemon, 100):
        await connection.execute(FINISH, ids)
    return live


async def compare(connection: asyncpg.Connection, daemon: UUID) -> object:
    found = await DAEMONS.live_jobs(connection, daemon, held=[], full=False)
    return {job.card.job_id for job in found}


async def watch(connection: asyncpg.Connection, daemon: UUID) -> object:
    return (await DAEMONS.others(connection, uuid4(), full=False)).orphans


@pytest.mark.parametrize("look", [compare, watch])
async def test_an_old_snapshot_does_not_make_the_looks_at_live_jobs_read_what_has_ended(
    connection: asyncpg.Connection,
    daemon: UUID,
    aged: list[UUID],
    look: Callable[[asyncpg.Connection, UUID], Awaitable[object]],
) -> None:
    await connection.execute("UPDATE jobservice.daemon SET lost_at = clock_timestamp() WHERE id = $1", daemon)

    async with connection.transaction():
        before = await connection.fetchval(ENTRIES)
        found = await look(connection, daemon)
        read = await connection.fetchval(ENTRIES) - before

    assert found in (True, set(aged))
    assert read < 1_000  # of 3,000


async def test_a_row_that_came_past_the_claims_is_found_where_it_is_held_and_by_a_full_look(
    connection: asyncpg.Connection, aged: list[UUID]
) -> None:
    other = await make_daemon(connection)
    strange = await make_job(connection, status=JobStatus.RUNNING, daemon=other)
    await connection.execute("UPDATE jobservice.daemon SET lost_at = clock_timestamp() WHERE id = $1", other)

    async def compared(held: list[UUID], *, full: bool) -> list[UUID]:
        return [job.card.job_id for job in await DAEMONS.live_jobs(connection, other, held=held, full=full)]

    assert await compared([], full=False) == []
    assert await compared([strange, *aged], full=False) == [strange]  # and none of another daemon's
    assert await compared([], full=True) == [strange]
    assert not (await DAEMONS.others(connection, uuid4(), full=False)).orphans
    assert (await DAEMONS.others(connection, uuid4(), full=True)).orphans


def test_the_first_look_is_a_full_one_and_then_one_now_and_then() -> None:
    seldom, always = FullLook(every=1e9), FullLook(every=0)
    assert seldom.due
    assert seldom.due  # the first has failed
    for look in (seldom, always):
        look.done()

    assert not seldom.due
    assert always.due
