"""The schema: applied once whoever else tries, under any name, and told apart from one that is old, new or damaged."""

import asyncio
from collections.abc import AsyncIterator

import asyncpg
import pytest
from databases import Connect

from jobservice.domain.errors import SchemaError
from jobservice.domain.rates import Rate
from jobservice.lifecycle.claim import Claimer
from jobservice.lifecycle.commands import Commands
from jobservice.lifecycle.limits import Limits
from jobservice.lifecycle.submission import Submitter
from jobservice.store.failures import translated
from jobservice.store.schema import VERSION, apply, check, ddl, require


@pytest.fixture
def database_url(empty_database_url: str) -> str:
    """A database without the schema: what the connections here are to."""
    return empty_database_url


async def submit_one(connection: asyncpg.Connection, schema: str = "jobservice") -> None:
    await Submitter(schema=schema).submit(connection, '[{"job_class": "Nap", "concurrency_key": "k"}]')


async def test_a_missing_schema_is_told_with_what_to_do(connection: asyncpg.Connection) -> None:
    state = await check(connection)

    assert not state.current
    assert state.found is None
    with pytest.raises(SchemaError, match="is missing; run `jobservice schema apply`"):
        await require(connection)


async def test_an_applied_schema_is_current_and_lacks_nothing(connection: asyncpg.Connection) -> None:
    assert await apply(connection) == VERSION

    state = await check(connection)
    assert (state.found, state.current, state.missing) == (VERSION, True, ())
    await require(connection)


async def test_applying_it_twice_changes_nothing_and_loses_nothing(connection: asyncpg.Connection) -> None:
    await apply(connection)
    await submit_one(connection)
    before = await objects(connection)

    await apply(connection)

    assert await objects(connection) == before
    assert await connection.fetchval("SELECT count(*) FROM jobservice.job_info") == 1
    assert await connection.fetchval("SELECT count(*) FROM jobservice.schema_version") == 1


async def objects(connection: asyncpg.Connection) -> set[tuple[str, str]]:
    rows = await connection.fetch(
        """SELECT relkind::text AS kind, relname AS name FROM pg_class WHERE relnamespace = 'jobservice'::regnamespace
           UNION ALL SELECT 'function', proname || pg_get_function_identity_arguments(oid) FROM pg_proc
           WHERE pronamespace = 'jobservice'::regnamespace"""
    )
    return {(row["kind"], row["name"]) for row in rows}


async def test_many_that_apply_it_at_once_all_succeed(connect: Connect, connection: asyncpg.Connection) -> None:
    sessions = [await connect() for _ in range(6)]

    versions = await asyncio.gather(*(apply(session) for session in sessions))

    assert versions == [VERSION] * 6
    assert (await check(connection)).current


async def test_applying_it_leaves_the_sessions_search_path_as_it_was(connection: asyncpg.Connection) -> None:
    await connection.execute("SET search_path = pg_catalog")

    await apply(connection)

    assert await connection.fetchval("SHOW search_path") == "pg_catalog"


async def test_it_can_also_be_applied_by_the_text_that_is_printed(connection: asyncpg.Connection) -> None:
    async with connection.transaction():
        await connection.execute(ddl())

    assert (await check(connection)).current


async def test_two_schemas_of_other_names_live_in_one_database_and_know_nothing_of_each_other(
    connection: asyncpg.Connection,
) -> None:
    await apply(connection, "first")
    await apply(connection, "second")
    daemon = await connection.fetchval(
        """INSERT INTO first.daemon (id, host, pid, version, queues, job_classes, capacity)
           VALUES (gen_random_uuid(), 'h', 1, '1', '{default}', '{}', 1) RETURNING id"""
    )
    await connection.execute("INSERT INTO first.queue (queue) VALUES ('default')")

    await submit_one(connection, "first")
    claimer = Claimer(daemon_id=daemon, schema="first", submissions_published=False)
    claim = await claimer.claim(connection, queue="default", slots=5, skipped_classes=(), charges={})
    (stopped,) = await Commands(schema="first").stop(connection, [claim.jobs[0].card.job_id])

    assert stopped.status == "TO_BE_RUN"
    assert await connection.fetchval("SELECT count(*) FROM second.job_info") == 0
    assert await connection.fetchval("SELECT to_regnamespace('jobservice')") is None


@pytest.mark.parametrize("name", ["", "a b", "Upper", "x" * 41, "a;b", "1a", 'a"b', "é"])
async def test_a_name_that_would_need_quotes_is_refused(connection: asyncpg.Connection, name: str) -> None:
    with pytest.raises(ValueError, match="must match"):
        await apply(connection, name)


@pytest.mark.parametrize(
    ("damage", "told"),
    [
        ("DROP TABLE jobservice.subscription", "lacks table subscription"),
        ("DROP INDEX jobservice.job_info_claimable", "lacks index job_info_claimable"),
        ("DROP FUNCTION jobservice.stop", "lacks function stop"),
        ("ALTER TABLE jobservice.queue RENAME TO queues", "lacks table queue"),
        ("DROP INDEX jobservice.job_info_due; DROP FUNCTION jobservice.wake", "index job_info_due, function wake"),
    ],
)
async def test_a_damaged_schema_is_told_by_what_it_lacks_and_mended_by_applying_it(
    connection: asyncpg.Connection, damage: str, told: str
) -> None:
    await apply(connection)
    await connection.execute(damage)

    damaged = await check(connection)
    with pytest.raises(SchemaError, match=told):
        await require(connection)
    await apply(connection)

    assert not damaged.current
    assert (await check(connection)).current


EARLIER = """
ALTER TABLE jobservice.queue DROP COLUMN events, DROP COLUMN rate, DROP COLUMN rate_period, DROP COLUMN rate_full_at;
ALTER TABLE jobservice.tenant DROP COLUMN rate, DROP COLUMN rate_period, DROP COLUMN rate_full_at;
ALTER TABLE jobservice.job_info DROP COLUMN on_hold;
DROP INDEX jobservice.job_info_key_live;
DROP FUNCTION jobservice.claim;
CREATE FUNCTION jobservice.claim(q text, slots integer, me uuid, skipped text[], tenants text[], seconds float8[])
  RETURNS TABLE (id uuid) LANGUAGE sql AS 'SELECT NULL::uuid';
"""


async def test_a_database_of_an_earlier_state_gets_the_columns_and_functions_that_were_added(
    connection: asyncpg.Connection,
) -> None:
    await apply(connection)
    await submit_one(connection)
    await connection.execute(EARLIER)

    await apply(connection)

    daemon = await connection.fetchval(
        """INSERT INTO jobservice.daemon (id, host, pid, version, queues, job_classes, capacity)
           VALUES (gen_random_uuid(), 'h', 1, '1', '{default}', '{}', 1) RETURNING id"""
    )
    await Limits().set_queue(connection, "default", events="none", rate=Rate(starts=1, period=3600))
    claimer = Claimer(daemon_id=daemon, schema="jobservice", submissions_published=False)
    first, second = [
        await claimer.claim(connection, queue="default", slots=5, skipped_classes=(), charges={}) for _ in range(2)
    ]
    assert (await check(connection)).current
    assert [job.card.events for job in first.jobs] == ["none"]
    assert second.again_in is not None


@pytest.mark.parametrize("damage", ["DROP TABLE jobservice.schema_version", "DELETE FROM jobservice.schema_version"])
async def test_a_schema_that_does_not_know_its_version_counts_as_missing_and_is_mended_by_applying_it(
    connection: asyncpg.Connection, damage: str
) -> None:
    await apply(connection)
    await submit_one(connection)
    await connection.execute(damage)

    damaged = await check(connection)
    await apply(connection)

    assert damaged.found is None
    assert (await check(connection)).current
    assert await connection.fetchval("SELECT count(*) FROM jobservice.job_info") == 1


@pytest.mark.parametrize(("version", "runs"), [(0, False), (VERSION, True), (99, True), (100, False)])
async def test_the_code_runs_on_its_own_and_newer_versions_of_the_same_hundred(
    connection: asyncpg.Connection, version: int, runs: bool
) -> None:
    await apply(connection)
    await connection.execute("UPDATE jobservice.schema_version SET version = $1", version)

    state = await check(connection)

    assert state.current is runs
    assert runs or ("older" if version == 0 else "newer") in state.describe()


async def test_an_older_program_does_not_apply_its_schema_over_a_newer_one(connection: asyncpg.Connection) -> None:
    await apply(connection)
    await connection.execute("UPDATE jobservice.schema_version SET version = 100")

    with pytest.raises(SchemaError, match="update the program"):
        await apply(connection)


async def test_the_index_for_searches_by_parameter_is_made_only_when_asked_for(connection: asyncpg.Connection) -> None:
    await apply(connection)
    without = await connection.fetchval("SELECT to_regclass('jobservice.job_info_parameters')")

    await apply(connection, parameter_index=True)

    assert without is None
    assert await connection.fetchval("SELECT to_regclass('jobservice.job_info_parameters') IS NOT NULL")


# ------------------------------------------------------------------------------------------- for any role, any session


@pytest.fixture
async def foreigner(connect: Connect, connection: asyncpg.Connection) -> AsyncIterator[asyncpg.Connection]:
    """A session of a role of its own that may use the schema, with settings of its own."""
    await apply(connection)
    role = (
        f"jobservice_test_{await connection.fetchval('SELECT oid FROM pg_database WHERE datname = current_database()')}"
    )
    await connection.execute(
        f"""CREATE ROLE {role};
            GRANT USAGE ON SCHEMA jobservice TO {role};
            GRANT SELECT ON ALL TABLES IN SCHEMA jobservice TO {role};
            GRANT INSERT, UPDATE ON jobservice.job_info, jobservice.outbox, jobservice.idempotency_key,
                                    jobservice.concurrency_key TO {role}"""
    )
    session = await connect()
    await session.execute(
        f"SET ROLE {role}; SET search_path = public; SET timezone = 'Asia/Tokyo'; SET datestyle = German"
    )
    yield session
    await session.close()
    await connection.execute(f"DROP OWNED BY {role}; DROP ROLE {role}")


async def test_a_foreign_role_submits_and_stops_by_sql_inside_its_own_transaction(
    foreigner: asyncpg.Connection, connection: asyncpg.Connection
) -> None:
    await foreigner.execute("CREATE TEMP TABLE job_info (id uuid)")  # of no account: it comes last in the search path

    async with foreigner.transaction():
        job_id, created = await foreigner.fetchrow(
            """SELECT * FROM jobservice.submit('[{"job_class": "Nap", "trigger_after_date": "2100-01-31T12:00:00Z",
                                                  "idempotency_key": "once"}]'::jsonb)"""
        )
        before = await connection.fetchval("SELECT count(*) FROM jobservice.job_info")
    stopped = await foreigner.fetchval("SELECT jobservice.stop($1, 'enough')", job_id)
    again = await foreigner.fetchval("SELECT jobservice.stop($1)", job_id)

    assert (created, before, stopped, again) == (True, 0, "ABORTED", "ABORTED")
    row = await connection.fetchrow(
        "SELECT stop_reason, trigger_after_date FROM jobservice.job_info WHERE id = $1", job_id
    )
    assert row["stop_reason"] == "enough"
    assert row["trigger_after_date"].isoformat() == "2100-01-31T12:00:00+00:00"


async def test_bad_input_by_sql_says_code_field_and_index_in_its_detail(foreigner: asyncpg.Connection) -> None:
    with pytest.raises(asyncpg.InvalidParameterValueError) as refused:
        await foreigner.fetch(
            """SELECT * FROM jobservice.submit('[{"job_class": "Nap"}, {"job_class": "a.b"}]'::jsonb)"""
        )

    assert refused.value.sqlstate == "22023"
    assert refused.value.detail == '{"code": "bad_field", "field": "job_class", "index": 1}'


async def test_a_stop_of_an_unknown_job_by_sql_is_an_error_of_its_own(foreigner: asyncpg.Connection) -> None:
    with pytest.raises(asyncpg.PostgresError, match="there is no job") as refused:
        await foreigner.fetchval("SELECT jobservice.stop(gen_random_uuid())")

    assert refused.value.sqlstate == "P0002"


async def test_a_role_without_rights_is_refused_by_the_database(
    connect: Connect, foreigner: asyncpg.Connection
) -> None:
    with pytest.raises(asyncpg.InsufficientPrivilegeError):
        await foreigner.execute("DELETE FROM jobservice.job_info")


async def test_a_program_whose_columns_the_schema_lacks_is_told_to_apply_it(foreigner: asyncpg.Connection) -> None:
    with pytest.raises(SchemaError, match="schema apply"), translated():
        await foreigner.execute("SELECT of_tomorrow FROM jobservice.job_info")


async def test_a_program_without_the_schema_is_told_to_apply_it(connection: asyncpg.Connection) -> None:
    with pytest.raises(SchemaError, match="schema apply"), translated():
        await submit_one(connection)
