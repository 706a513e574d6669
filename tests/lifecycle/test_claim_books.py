"""The books of the claim: nothing that is claimable is missed, and what cannot be cleared away is not met again."""

import asyncio
import json
from collections.abc import Sequence
from uuid import UUID

import asyncpg
import pytest
from claiming import ENTRIES, FINISH, SUBMIT, claim
from databases import Connect
from doors import eventually
from factory import SETTLER, make_daemon, make_job, make_queue
from impatience import replace_claim

from jobservice.domain.states import JobStatus
from jobservice.lifecycle.claim import Claimer
from jobservice.lifecycle.commands import Commands
from jobservice.lifecycle.limits import Limits
from jobservice.lifecycle.upkeep import Upkeep

ALL_ENDED = "SELECT pg_snapshot_xmin(pg_current_snapshot()) > $1::text::xid8"


async def submit(connection: asyncpg.Connection, tenant: str, jobs: int = 1, priority: int = 0) -> list[UUID]:
    job = {"job_class": "Nap", "tenant": tenant, "priority": priority}
    return [row["job_id"] for row in await connection.fetch(SUBMIT, json.dumps(jobs * [job]))]


@pytest.fixture
async def impatient(connection: asyncpg.Connection) -> None:
    """Bounds move with every claim; the next test's database has the usual claim again."""
    await replace_claim(connection, impatient=True)


@pytest.fixture(autouse=True)
async def usual_claim(connection: asyncpg.Connection) -> None:
    await replace_claim(connection, impatient=False)


async def entries_read(connection: asyncpg.Connection, daemon: UUID, charges: Sequence[str]) -> tuple[int, list[UUID]]:
    """One claim of 100, and how many index entries it read."""
    async with connection.transaction():
        before = await connection.fetchval(ENTRIES)
        ids = await claim(connection, daemon, 100, dict.fromkeys(charges, 0.01))
        return await connection.fetchval(ENTRIES) - before, ids


async def test_an_old_snapshot_does_not_make_claims_read_what_was_claimed_since(
    connection: asyncpg.Connection, daemon: UUID, connect: Connect
) -> None:
    tenants = [f"t{n}" for n in range(5)]
    for tenant in tenants:
        await submit(connection, tenant, jobs=2_000)
    reader = await connect()
    await reader.execute("BEGIN ISOLATION LEVEL REPEATABLE READ; SELECT FROM jobservice.job_info LIMIT 1")

    read = []
    for _ in range(100):
        entries, ids = await entries_read(connection, daemon, tenants)
        assert len(ids) == 100
        read.append(entries)
        await connection.execute(FINISH, ids)

    # Without bounds the hundredth claim reads some 30,000: all that was claimable and all that was live since.
    assert max(read[50:]) < 5_000
    assert sum(read[80:]) < 1.5 * sum(read[30:50])


async def test_an_old_snapshot_does_not_make_the_look_for_work_read_what_was_claimed_since(
    connection: asyncpg.Connection, daemon: UUID, connect: Connect
) -> None:
    await submit(connection, "gone", jobs=3_000)
    reader = await connect()
    await reader.execute("BEGIN ISOLATION LEVEL REPEATABLE READ; SELECT FROM jobservice.job_info LIMIT 1")
    while ids := await claim(connection, daemon, 100):
        await connection.execute(FINISH, ids)

    async with connection.transaction():
        before = await connection.fetchval(ENTRIES)
        due = await Upkeep(schema="jobservice", follower=SETTLER).look(connection, ["default"])
        read = await connection.fetchval(ENTRIES) - before

    assert not due.claimable
    assert read < 300


async def test_a_reader_of_calls_does_not_meet_those_that_were_taken_in_under_an_old_snapshot(
    connection: asyncpg.Connection, daemon: UUID, connect: Connect
) -> None:
    reader = await connect()
    await reader.execute("BEGIN ISOLATION LEVEL REPEATABLE READ; SELECT FROM jobservice.job_info LIMIT 1")
    for _ in range(30):
        await connection.executemany(SUBMIT, 100 * [(json.dumps({"job_class": "Nap"}),)])
        await claim(connection, daemon, 1)
    # The bound moves up to the oldest transaction that writes, and other tests have some on this server.
    last = await connection.fetchval("SELECT pg_current_xact_id()::text")
    await eventually(lambda: connection.fetchval(ALL_ENDED, last))
    await claim(connection, daemon, 1)

    await submit(connection, "acme")
    read, _ = await entries_read(connection, daemon, [])

    assert read < 2_000


@pytest.mark.usefixtures("impatient")
async def test_what_is_committed_later_than_its_number_says_is_claimed_all_the_same_and_in_its_place(
    connection: asyncpg.Connection, daemon: UUID, connect: Connect
) -> None:
    slow, fast = await connect(), connection
    uncommitted = slow.transaction()
    await uncommitted.start()
    [first] = await submit(slow, "acme")
    second, third, fourth = await submit(fast, "acme", jobs=3)

    assert await claim(connection, daemon, 1) == [second]
    assert await claim(connection, daemon, 1) == [third]
    await uncommitted.commit()

    assert await claim(connection, daemon, 1) == [first]
    assert await claim(connection, daemon, 1) == [fourth]


@pytest.mark.usefixtures("impatient")
async def test_a_tenant_that_left_the_order_comes_back_with_a_commit_from_before_it_left(
    connection: asyncpg.Connection, daemon: UUID, connect: Connect
) -> None:
    slow = await connect()
    uncommitted = slow.transaction()
    await uncommitted.start()
    [late] = await submit(slow, "acme")
    [job] = await submit(connection, "acme")
    await connection.execute(FINISH, await claim(connection, daemon, 1))
    assert await claim(connection, daemon, 1) == []
    assert await connection.fetchval("SELECT active FROM jobservice.tenant_account") is False

    await uncommitted.commit()

    assert await claim(connection, daemon, 5) == [late]
    assert job != late


@pytest.mark.usefixtures("impatient")
async def test_a_higher_priority_goes_first_wherever_the_claims_had_got_to(
    connection: asyncpg.Connection, daemon: UUID
) -> None:
    jobs = await submit(connection, "acme", jobs=4)
    assert set(await claim(connection, daemon, 2)) == set(jobs[:2])

    [urgent] = await submit(connection, "acme", priority=5)
    await Commands().update(connection, [jobs[3]], priority=9)

    assert await claim(connection, daemon, 1) == [jobs[3]]
    assert await claim(connection, daemon, 1) == [urgent]
    assert await claim(connection, daemon, 5) == [jobs[2]]


@pytest.mark.usefixtures("impatient")
async def test_a_live_job_of_long_ago_counts_against_a_limit(connection: asyncpg.Connection, daemon: UUID) -> None:
    await Limits().set_queue(connection, "default", max_running=2)
    await Limits().set_tenant(connection, "bolt", max_running=1)
    [old] = await submit(connection, "acme")
    assert await claim(connection, daemon, 1) == [old]
    await submit(connection, "acme", jobs=50)
    for _ in range(20):
        await connection.execute(FINISH, await claim(connection, daemon, 5))

    [lately] = await claim(connection, daemon, 5)

    assert lately != old
    assert await claim(connection, daemon, 5) == []


@pytest.mark.usefixtures("impatient")
async def test_a_limit_over_all_queues_counts_live_jobs_of_long_ago_on_another(
    connection: asyncpg.Connection, daemon: UUID
) -> None:
    await make_queue(connection, "other")
    await Limits().set_tenant(connection, "acme", max_running=1)
    await make_job(connection, tenant="acme", queue="other")
    claimer = Claimer(daemon_id=daemon, schema="jobservice", submissions_published=False)
    for tenant in ("acme", "bolt", "core"):
        await make_job(connection, tenant=tenant, queue="other")
        await claimer.claim(connection, queue="other", slots=1, skipped_classes=(), charges={})
    await submit(connection, "acme")

    assert await claim(connection, daemon, 5) == []


async def test_a_weight_that_changes_decides_the_next_claim(connection: asyncpg.Connection, daemon: UUID) -> None:
    for tenant in ("acme", "bolt"):
        await submit(connection, tenant, jobs=4)
    await connection.execute(FINISH, await claim(connection, daemon, 2))
    await connection.execute(FINISH, await claim(connection, daemon, 2, {"acme": 10.0, "bolt": 6.0}))

    await Limits().set_tenant(connection, "acme", weight=2)
    heavy = await claim(connection, daemon, 1)
    await connection.execute(FINISH, heavy)
    await Limits().set_share(connection, "default", "bolt", weight=4)
    heavier = await claim(connection, daemon, 1)

    tenants = dict(await connection.fetch("SELECT id, tenant FROM jobservice.job_info"))
    assert [tenants[job] for job in heavy + heavier] == ["acme", "bolt"]


async def test_neither_a_claim_nor_a_submission_waits_for_the_other(
    connection: asyncpg.Connection, daemon: UUID, connect: Connect
) -> None:
    submitter, claiming = await connect(), await connect()
    [first] = await submit(connection, "acme")
    open_submission, open_claim = submitter.transaction(), claiming.transaction()
    await open_submission.start()
    await open_claim.start()

    await submit(submitter, "acme")
    assert await asyncio.wait_for(claim(claiming, daemon, 5), 30) == [first]
    await asyncio.wait_for(submit(submitter, "acme"), 30)
    await asyncio.wait_for(submit(connection, "acme"), 30)

    await open_claim.commit()
    await open_submission.commit()
    assert len(await claim(connection, daemon, 5)) == 3


async def test_who_would_be_next_and_has_nothing_left_leaves_the_order(
    connection: asyncpg.Connection, daemon: UUID
) -> None:
    for n in range(50):
        await submit(connection, f"t{n:02}")
    waiting = await connection.fetch("SELECT id FROM jobservice.job_info")
    await Commands().stop(connection, [row["id"] for row in waiting])
    jobs = await submit(connection, "zulu", jobs=2)

    assert await claim(connection, daemon, 1) == jobs[:1]

    rows = await connection.fetch("SELECT tenant FROM jobservice.tenant_account WHERE active")
    assert [row["tenant"] for row in rows] == ["zulu"]


async def test_a_claim_by_a_second_daemon_goes_on_where_the_first_left(connection: asyncpg.Connection) -> None:
    daemons = [await make_daemon(connection) for _ in range(2)]
    jobs = await submit(connection, "acme", jobs=6)

    claimed = [await claim(connection, daemons[n % 2], 1) for n in range(6)]

    assert [job for [job] in claimed] == jobs
    rows = await connection.fetch("SELECT status, turn FROM jobservice.job_info ORDER BY number")
    assert {row["status"] for row in rows} == {JobStatus.TO_BE_RUN}
    assert [row["turn"] for row in rows] == sorted({row["turn"] for row in rows})
