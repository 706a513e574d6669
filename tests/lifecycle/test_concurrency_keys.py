"""Concurrency keys: who waits for one costs the others nothing, and is the next in its turn once it is free."""

from datetime import UTC, datetime
from typing import Any
from uuid import UUID

import asyncpg
import pytest
from factory import SETTLER, make_daemon, make_job, row_of

from jobservice.domain.states import JobStatus
from jobservice.lifecycle.claim import Claimer
from jobservice.lifecycle.commands import Commands
from jobservice.lifecycle.upkeep import Upkeep

KEY = ("acme", "k")
LONG_GONE = datetime(2026, 1, 1, tzinfo=UTC)


class Keeper:
    """A daemon that claims and lets go."""

    def __init__(self, connection: asyncpg.Connection, daemon: UUID) -> None:
        self.connection = connection
        self.claimer = Claimer(daemon_id=daemon, schema="jobservice", submissions_published=False)

    async def claim(self, *, slots: int = 10, queue: str = "default") -> list[UUID]:
        claim = await self.claimer.claim(self.connection, queue=queue, slots=slots, skipped_classes=(), charges={})
        return [job.card.job_id for job in claim.jobs]

    async def unblock(self) -> None:
        await self.claimer.unblock(self.connection, [KEY])

    async def end(self, job_id: UUID) -> None:
        await self.connection.execute(
            "UPDATE jobservice.job_info SET status = 'ABORTED', stop_date = now() WHERE id = $1", job_id
        )
        await self.unblock()

    async def blocked(self) -> set[UUID]:
        rows = await self.connection.fetch("SELECT id FROM jobservice.job_info WHERE blocked")
        return {row["id"] for row in rows}


@pytest.fixture
async def keeper(connection: asyncpg.Connection) -> Keeper:
    return Keeper(connection, await make_daemon(connection, queues=("default", "other")))


async def test_jobs_of_one_key_run_one_after_the_other_in_the_order_of_priority_and_submission(
    connection: asyncpg.Connection, keeper: Keeper
) -> None:
    later = [await make_job(connection, concurrency_key="k") for _ in range(3)]
    first = await make_job(connection, concurrency_key="k", priority=1)

    order = []
    for _ in range(4):
        (job_id,) = await keeper.claim()
        order.append(job_id)
        await keeper.end(job_id)

    assert order == [first, *later]


async def test_who_waits_for_a_full_key_leaves_the_claimable_index_and_says_so(
    connection: asyncpg.Connection, keeper: Keeper
) -> None:
    first = await make_job(connection, concurrency_key="k")
    second = await make_job(connection, concurrency_key="k")

    claimed = await keeper.claim()

    assert claimed == [first]
    assert await keeper.blocked() == {second}


async def test_a_key_holds_on_all_queues_together(connection: asyncpg.Connection, keeper: Keeper) -> None:
    here = await make_job(connection, concurrency_key="k")
    there = await make_job(connection, concurrency_key="k", queue="other")

    first = await keeper.claim(queue="default")
    meanwhile = await keeper.claim(queue="other")
    await keeper.end(here)
    afterwards = await keeper.claim(queue="other")

    assert (first, meanwhile, afterwards) == ([here], [], [there])


async def test_the_same_key_of_another_tenant_is_another_key(connection: asyncpg.Connection, keeper: Keeper) -> None:
    jobs = {await make_job(connection, concurrency_key="k", tenant=tenant) for tenant in ("acme", "bolt")}

    claimed = await keeper.claim()

    assert set(claimed) == jobs


async def test_a_key_may_be_given_more_than_one_place(connection: asyncpg.Connection, keeper: Keeper) -> None:
    for _ in range(5):
        await make_job(connection, concurrency_key="k")
    await connection.execute("UPDATE jobservice.concurrency_key SET max_running = 3")

    claimed = await keeper.claim()

    assert len(claimed) == 3
    assert len(await keeper.blocked()) == 2


async def test_a_later_submission_does_not_overtake_those_that_wait_for_the_key(
    connection: asyncpg.Connection, keeper: Keeper
) -> None:
    running = await make_job(connection, concurrency_key="k")
    waiting = await make_job(connection, concurrency_key="k")
    await keeper.claim()
    late = await make_job(connection, concurrency_key="k")

    await keeper.end(running)
    next_one = await keeper.claim()

    assert next_one == [waiting]
    assert await keeper.blocked() == {late}


@pytest.mark.parametrize("slots", [1, 4])
async def test_a_long_backlog_of_one_key_holds_nobody_else_up(
    connection: asyncpg.Connection, keeper: Keeper, slots: int
) -> None:
    running = await make_job(connection, concurrency_key="k", priority=9)
    for _ in range(60):
        await make_job(connection, concurrency_key="k", priority=9)
    free = await make_job(connection)
    await keeper.claim(slots=1)

    claimed = await keeper.claim(slots=slots)

    assert claimed == [free]
    assert running not in await keeper.blocked()


@pytest.mark.parametrize("ending", ["stop", "expire"])
async def test_when_the_next_in_turn_ends_without_a_run_the_look_of_any_daemon_lets_the_following_one_in(
    connection: asyncpg.Connection, keeper: Keeper, ending: str
) -> None:
    running, head, following = [await make_job(connection, concurrency_key="k") for _ in range(3)]
    await keeper.claim()
    await keeper.end(running)
    upkeep = Upkeep(schema="jobservice", follower=SETTLER)

    if ending == "stop":
        await Commands().stop(connection, [head])
    else:
        await connection.execute("UPDATE jobservice.job_info SET expiration_date = $2 WHERE id = $1", head, LONG_GONE)
        await upkeep.expire(connection)
    due = await upkeep.look(connection)
    await keeper.claimer.unblock(connection, await upkeep.blocked_keys(connection))

    assert due.blocked
    assert await keeper.claim() == [following]


async def test_a_key_that_another_claim_holds_is_left_for_the_next_time_and_is_not_waited_for(
    connection: asyncpg.Connection, connect: Any, keeper: Keeper
) -> None:
    keyed = await make_job(connection, concurrency_key="k", priority=9)
    free = await make_job(connection)
    other = await connect()

    async with other.transaction():
        await other.execute("SELECT FROM jobservice.concurrency_key FOR NO KEY UPDATE")
        during = await keeper.claim()
    afterwards = await keeper.claim()

    assert (during, afterwards) == ([free], [keyed])
    assert await keeper.blocked() == set()


@pytest.mark.parametrize("status", [JobStatus.TO_BE_RUN, JobStatus.RUNNING])
async def test_a_job_that_is_prepared_or_runs_keeps_its_key(
    connection: asyncpg.Connection, keeper: Keeper, status: JobStatus
) -> None:
    await make_job(connection, status, concurrency_key="k")
    waiting = await make_job(connection, concurrency_key="k")

    claimed = await keeper.claim()
    await keeper.unblock()

    assert claimed == []
    assert (await row_of(connection, waiting))["blocked"]
