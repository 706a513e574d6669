"""What hides a claimable job from the claims (a restore, a replica, a hand in the books), and what finds it again."""

import json
from uuid import UUID

import asyncpg
import pytest
from databases import Connect
from factory import SETTLER, make_queue
from impatience import replace_claim

from jobservice.domain.rates import Rate
from jobservice.lifecycle.claim import Claim, Claimer
from jobservice.lifecycle.commands import Commands
from jobservice.lifecycle.limits import Limits
from jobservice.lifecycle.upkeep import Upkeep
from jobservice.maintenance.audit import Audit
from jobservice.store.schema import apply
from jobservice.store.session import Session

SUBMIT = "SELECT job_id FROM jobservice.submit($1::text::jsonb)"
FAR = "(pg_current_xact_id()::text::bigint + 1000000000)::text::xid8"
BOUND = (
    "INSERT INTO jobservice.claim_bound (queue, turn, spent, writer, live_turn, live_before)"
    " VALUES ('default', {turn}, {spent}, {writer}, {live_turn}, '{{}}')"
)


async def claim_of(connection: asyncpg.Connection, daemon: UUID, slots: int = 5) -> Claim:
    claimer = Claimer(daemon_id=daemon, schema="jobservice", submissions_published=False)
    return await claimer.claim(connection, queue="default", slots=slots, skipped_classes=(), charges={})


async def claim(connection: asyncpg.Connection, daemon: UUID, slots: int = 5) -> set[UUID]:
    return {job.card.job_id for job in (await claim_of(connection, daemon, slots)).jobs}


async def submit(connection: asyncpg.Connection, tenant: str = "acme", jobs: int = 1) -> list[UUID]:
    rows = await connection.fetch(SUBMIT, json.dumps(jobs * [{"job_class": "Nap", "tenant": tenant}]))
    return [row["job_id"] for row in rows]


async def forgotten(connection: asyncpg.Connection) -> list[tuple[str, str]]:
    return await Upkeep(schema="jobservice", follower=SETTLER).call_forgotten(connection)


@pytest.fixture(autouse=True)
async def usual_claim(connection: asyncpg.Connection) -> None:
    await replace_claim(connection, impatient=False)


# ------------------------------------------------------------------------------------------------------- other servers


async def test_after_a_restore_where_transactions_are_numbered_lower_everything_is_claimed(
    connection: asyncpg.Connection, daemon: UUID
) -> None:
    [old] = await submit(connection, "acme")
    await connection.execute(f"UPDATE jobservice.tenant_call SET writer = {FAR}")
    await connection.execute(BOUND.format(turn=0, spent="'-Infinity'", writer=FAR, live_turn=0))
    [new] = await submit(connection, "bolt")

    assert await claim(connection, daemon) == {old, new}
    assert await connection.fetchval("SELECT count(*) FROM jobservice.tenant_call") == 0


async def test_nothing_is_missed_when_the_numbers_of_transactions_reach_those_from_before_the_restore(
    connection: asyncpg.Connection, daemon: UUID
) -> None:
    await connection.execute(
        BOUND.format(turn=0, spent="'-Infinity'", writer=FAR.replace("1000000000", "5"), live_turn=0)
    )
    assert await claim(connection, daemon) == set()

    [job] = await submit(connection)
    for _ in range(10):
        await connection.execute("SELECT pg_current_xact_id()")

    assert await claim(connection, daemon) == {job}


async def test_limits_count_all_live_jobs_after_the_numbers_of_claims_began_anew(
    connection: asyncpg.Connection, daemon: UUID
) -> None:
    await Limits().set_queue(connection, "default", max_running=2)
    await connection.execute(BOUND.format(turn=900_000, spent=0, writer="'3'", live_turn=900_000))
    await connection.execute("SELECT setval('jobservice.claim_turn', 1)")
    jobs = await submit(connection, jobs=5)

    claimed = [await claim(connection, daemon) for _ in range(3)]

    assert claimed == [set(jobs[:2]), set(), set()]


async def test_what_was_queued_before_there_were_triggers_is_called_by_the_schema_itself(
    connection: asyncpg.Connection, daemon: UUID
) -> None:
    jobs = await submit(connection, jobs=3)
    await connection.execute("TRUNCATE jobservice.tenant_call, jobservice.tenant_account")
    assert await claim(connection, daemon) == set()

    await apply(connection)

    assert await claim(connection, daemon) == set(jobs)


# -------------------------------------------------------------------------------------------------------------- audits

PAST_THE_TRIGGERS = "SET LOCAL session_replication_role = replica; "
DAMAGE = {
    "the account is gone": "DELETE FROM jobservice.tenant_account",
    "the account is asleep": "UPDATE jobservice.tenant_account SET active = false, since = NULL",
    "its backlog begins too late": "UPDATE jobservice.tenant_account SET rank = 2147483647",
    "its backlog begins a job too late": "UPDATE jobservice.tenant_account SET number = 9223372036854775807, rank = -1",
    "the bound of what was spent is too high": BOUND.format(turn=0, spent=1e6, writer="'3'", live_turn=0),
    "an older job came without triggers": PAST_THE_TRIGGERS
    + "UPDATE jobservice.job_info SET priority = 7; UPDATE jobservice.tenant_account SET active = false, rank = 0",
    "all books are gone": "TRUNCATE jobservice.tenant_call, jobservice.tenant_account, jobservice.claim_bound",
}  # fmt: skip


@pytest.mark.parametrize("damage", DAMAGE.values(), ids=DAMAGE.keys())
async def test_an_audit_finds_what_no_claim_would_and_the_next_claim_takes_it(
    connection: asyncpg.Connection, daemon: UUID, damage: str
) -> None:
    jobs = await submit(connection, jobs=2)
    assert await claim(connection, daemon, slots=0) == set()
    async with connection.transaction():
        await connection.execute(damage)
    assert await claim(connection, daemon) == set()

    found = await forgotten(connection)

    assert found == [("default", "acme")]
    assert await forgotten(connection) == [], "it has been called"
    assert await claim(connection, daemon) == set(jobs)


async def test_rows_that_came_without_their_triggers_are_found_by_an_audit_and_all_of_them(
    connection: asyncpg.Connection, daemon: UUID
) -> None:
    async with connection.transaction():
        await connection.execute(PAST_THE_TRIGGERS)
        hidden = [*await submit(connection, "acme"), *await submit(connection, "bolt", jobs=2)]
    assert await claim(connection, daemon) == set()

    assert await forgotten(connection) == [("default", "acme"), ("default", "bolt")]

    assert await claim(connection, daemon) == set(hidden)


async def test_calls_below_the_bound_do_not_pass_for_calls(connection: asyncpg.Connection, daemon: UUID) -> None:
    [job] = await submit(connection)
    await connection.execute("UPDATE jobservice.tenant_call SET writer = '3'")
    await connection.execute(BOUND.format(turn=0, spent="'-Infinity'", writer="'4'", live_turn=0))
    assert await claim(connection, daemon) == set()

    assert await forgotten(connection) == [("default", "acme")]

    assert await claim(connection, daemon) == {job}


async def test_an_audit_finds_nobody_who_may_not_run_or_who_has_called(
    connection: asyncpg.Connection, daemon: UUID
) -> None:
    for tenant in ("paused", "shut", "sated", "new"):
        await submit(connection, tenant)
    await Limits().set_tenant(connection, "paused", paused=True)
    await Limits().set_share(connection, "default", "shut", max_running=0)
    await Limits().set_tenant(connection, "sated", rate=Rate(1, 3600.0, None))

    assert await forgotten(connection) == []
    assert len(await claim(connection, daemon)) == 2
    await submit(connection, "sated")
    assert await claim(connection, daemon) == set()
    assert await forgotten(connection) == []


async def test_a_daemon_audits_at_its_start_and_of_many_one_in_a_minute(
    connection: asyncpg.Connection, daemon: UUID, database_url: str
) -> None:
    session = Session(url=database_url, name="audit")
    audit = Audit(session=session, upkeep=Upkeep(schema="jobservice", follower=SETTLER))
    [first] = await submit(connection)
    await connection.execute("DELETE FROM jobservice.tenant_call")

    await audit.run_once()
    found = await claim(connection, daemon)
    [second] = await submit(connection, "bolt")
    await connection.execute("DELETE FROM jobservice.tenant_call")
    await audit.run_once()
    too_soon = await claim(connection, daemon)
    await connection.execute(
        "UPDATE jobservice.setting SET value = to_jsonb(now() - interval '1 minute') WHERE name = 'claim.audited'"
    )
    await audit.run_once()
    await session.close()

    assert (found, too_soon) == ({first}, set())
    assert await claim(connection, daemon) == {second}


# ------------------------------------------------------------------------------------------------------ hands, numbers


async def test_jobs_that_are_moved_by_hand_are_claimed_where_they_are(
    connection: asyncpg.Connection, daemon: UUID
) -> None:
    await make_queue(connection, "other")
    jobs = await submit(connection, jobs=2)
    await connection.execute("UPDATE jobservice.job_info SET queue = 'other'")
    assert await claim(connection, daemon) == set()

    await connection.execute("UPDATE jobservice.job_info SET queue = 'default', tenant = 'bolt'")

    assert await claim(connection, daemon) == set(jobs)


async def test_a_job_that_is_put_aside_and_taken_back_by_hand_is_claimed(
    connection: asyncpg.Connection, daemon: UUID
) -> None:
    [job] = await submit(connection)
    await connection.execute("UPDATE jobservice.job_info SET blocked = true")
    assert await claim(connection, daemon) == set()

    await connection.execute("UPDATE jobservice.job_info SET blocked = false")

    assert await claim(connection, daemon) == {job}


async def test_a_client_with_another_search_path_and_few_rights_calls_as_everybody_does(
    connection: asyncpg.Connection, daemon: UUID, connect: Connect
) -> None:
    client = await connect()
    await client.execute(
        "CREATE ROLE only_inserts; GRANT USAGE ON SCHEMA jobservice TO only_inserts;"
        "GRANT INSERT ON jobservice.job_info TO only_inserts; SET ROLE only_inserts; SET search_path = pg_catalog"
    )
    try:
        await client.execute(
            "INSERT INTO jobservice.job_info (id, tenant, queue, job_class, status, queued_date)"
            " VALUES (gen_random_uuid(), 'acme', 'default', 'Nap', 'QUEUED', now())"
        )
    finally:
        await client.execute("RESET ROLE; DROP OWNED BY only_inserts; DROP ROLE only_inserts")

    assert len(await claim(connection, daemon)) == 1


async def test_more_calls_than_one_claim_takes_in_are_taken_in_by_the_next(
    connection: asyncpg.Connection, daemon: UUID
) -> None:
    await replace_claim(connection, impatient=True, most_calls=3)
    gone = [job for n in range(4) for job in await submit(connection, f"gone{n}")]
    await Commands().stop(connection, gone)
    jobs = [job for n in range(6) for job in await submit(connection, f"t{n}")]

    first = await claim_of(connection, daemon)
    rest: set[UUID] = set()
    while found := await claim(connection, daemon):
        rest |= found

    assert (first.jobs, first.again_in) == ((), 0)
    assert rest == set(jobs)
    assert await forgotten(connection) == []
