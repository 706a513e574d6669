"""What `submit` takes and refuses: one set of rules for every door, each refusal with its code, field and reason."""

import asyncio
import json
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import asyncpg
import pytest
from factory import row_of
from hypothesis import given, settings
from hypothesis import strategies as st
from races import begun

from jobservice.domain.errors import InvalidSubmission
from jobservice.domain.names import PRIORITIES, is_name
from jobservice.lifecycle.submission import Submitter
from jobservice.store.failures import translated

FUTURE = "2100-01-31T12:00:00Z"
NAMES = "must match [A-Za-z0-9][A-Za-z0-9_-]{0,63}"
DATE = "must be an ISO 8601 date with a zone, such as 2026-01-31T12:00:00Z"
PRIORITY = "must be a whole number of 32 bits, or one of VERY_LOW, LOW, MEDIUM, HIGH, VERY_HIGH"


async def submit(connection: asyncpg.Connection, *jobs: dict[str, Any]) -> list[UUID]:
    with translated():
        return [job_id for job_id, _ in await Submitter().submit(connection, json.dumps(list(jobs)))]


async def refusal(connection: asyncpg.Connection, *jobs: Any) -> InvalidSubmission:
    with pytest.raises(InvalidSubmission) as refused, translated():
        await Submitter().submit(connection, json.dumps(list(jobs)))
    assert await connection.fetchval("SELECT count(*) FROM jobservice.job_info") == 0
    return refused.value


def nested(depth: int) -> dict[str, Any]:
    """A document of this many levels."""
    document: Any = 1
    for _ in range(depth - 1):
        document = [document]
    return {"a": document}


NOT_NAMES = ("", "a.b", "a/b", "é", "a b", "a\n", "x" * 65, "x" * 300, "_a", 7, {}, ["a"])
NOT_DATES = (
    "2100-01-31T12:00:00", "2100-01-31", "tomorrow", "infinity", "2100-02-30T00:00:00Z", "2100-01-31T25:00:00Z",
    "now+00", "2100-01-31T12:00:00+99:99", "2100-01-31T12:00:00Z\n", "", 1,
)  # fmt: skip
INFINITE = ({"a": [10**400]}, {"a": -(10**309)})
LONG_TEXT = "must be a text of at most 255 characters"
RULES: list[tuple[tuple[str, ...], str, tuple[Any, ...]]] = [
    (("job_class", "tenant", "queue"), NAMES, NOT_NAMES),
    (("priority",), PRIORITY, (2**31, -(2**31) - 1, 1.5, "URGENT", "7", True, [1], 1e300)),
    (("max_attempts",), "must be a whole number from 1 to 1,000,000", (0, -1, 1.5, "2", 10**7, True)),
    (("timeout",), "must be a number of seconds above 0", (0, -1, "5", 1e9, False)),
    (("locked",), "must be true or false", ("true", 1, [])),
    (("status",), "must be PENDING or QUEUED", ("RUNNING", "queued", "", 1, {"a": 1})),
    (("owner", "correlation_id", "traceparent"), LONG_TEXT, ("x" * 256, 1, ["a"])),
    (("description",), "must be a text of at most 10,000 characters", ("x" * 10_001, 1.5)),
    (("idempotency_key",), "must be a text of 1 to 512 characters", ("", "x" * 513, 1)),
    (("concurrency_key",), "must be a text of 1 to 255 characters", ("", "x" * 256, 1)),
    (("expiration_date", "trigger_after_date"), DATE, NOT_DATES),
    (("expiration_date",), "is in the past", ("2020-01-31T12:00:00Z",)),
    (("parameters", "user_metadata"), "must be an object", ([1], "text", 1)),
    (("parameters", "user_metadata"), "is nested deeper than 64", (nested(65), nested(300))),
    (("parameters", "user_metadata"), "holds a number that is not finite as a double", INFINITE),
]  # fmt: skip
REFUSED = [(field, value, reason) for fields, reason, values in RULES for field in fields for value in values]


@pytest.mark.parametrize(("field", "value", "reason"), REFUSED)
async def test_a_value_that_breaks_a_rule_is_refused_with_field_and_reason(
    connection: asyncpg.Connection, field: str, value: Any, reason: str
) -> None:
    refused = await refusal(connection, {"job_class": "Nap"} | {field: value})

    assert (refused.code, refused.field, refused.index) == ("bad_field", field, 0)
    assert str(refused) == f"job 0: {field} {reason}"


TAKEN = [
    ("tenant", "A-1_b", "A-1_b"), ("queue", "x" * 64, "x" * 64), ("priority", 2**31 - 1, 2**31 - 1),
    ("priority", -(2**31), -(2**31)), ("priority", 3.0, 3), *[("priority", name, n) for name, n in PRIORITIES.items()],
    ("max_attempts", 1_000_000, 1_000_000), ("timeout", 0.001, 0.001), ("locked", True, True),
    ("description", "é" * 10_000, "é" * 10_000), ("owner", "", ""), ("concurrency_key", "ключ" * 63, "ключ" * 63),
    ("correlation_id", "c" * 255, "c" * 255), ("parameters", nested(64), nested(64)),
    ("parameters", {"n": 2**63 + 1}, {"n": 2**63 + 1}), ("parameters", {"n": -(10**30)}, {"n": -(10**30)}),
    ("parameters", {"f": [0.1, -2.5e-300]}, {"f": [0.1, -2.5e-300]}),
    ("user_metadata", {"ü": [None]}, {"ü": [None]}),
    ("expiration_date", FUTURE, datetime(2100, 1, 31, 12, tzinfo=UTC)),
    ("expiration_date", "2100-01-31 12:00:00,5+0130", datetime(2100, 1, 31, 10, 30, 0, 500_000, tzinfo=UTC)),
    ("trigger_after_date", "2100-01-31t12:00z", datetime(2100, 1, 31, 12, tzinfo=UTC)),
]  # fmt: skip


@pytest.mark.parametrize(("field", "value", "stored"), TAKEN)
async def test_a_value_at_the_edge_of_a_rule_is_stored_as_it_was_meant(
    connection: asyncpg.Connection, field: str, value: Any, stored: Any
) -> None:
    (job_id,) = await submit(connection, {"job_class": "Nap"} | {field: value})

    found = (await row_of(connection, job_id))[field]
    assert (json.loads(found) if isinstance(stored, dict) else found) == stored


async def test_what_is_not_given_or_null_is_the_default(connection: asyncpg.Connection) -> None:
    fields = (
        "tenant", "queue", "parameters", "priority", "description", "owner", "expiration_date", "trigger_after_date",
        "timeout", "max_attempts", "idempotency_key", "concurrency_key", "correlation_id", "user_metadata", "locked",
        "status",
    )  # fmt: skip

    bare, nulls = await submit(connection, {"job_class": "Nap"}, {"job_class": "Nap"} | dict.fromkeys(fields))

    differing = {"id", "number"}
    rows = [await row_of(connection, job_id) for job_id in (bare, nulls)]
    assert {k: v for k, v in rows[0].items() if k not in differing} == {
        k: v for k, v in rows[1].items() if k not in differing
    }
    shown = {name: rows[0][name] for name in ("tenant", "queue", "status", "priority", "parameters")}
    assert shown == {
        "tenant": "default", "queue": "default", "status": "QUEUED", "priority": 0, "parameters": "{}",
    }  # fmt: skip


@pytest.mark.parametrize("name", ["id", "number", "run", "sequence", "Tenant", "pipeline_id"])
async def test_an_unknown_field_is_refused_by_its_name(connection: asyncpg.Connection, name: str) -> None:
    refused = await refusal(connection, {"job_class": "Nap", name: 1})

    assert (refused.code, refused.field, refused.index) == ("unknown_field", name, 0)
    assert str(refused) == f"job 0: {name} is not a field of a submission"


async def test_a_job_without_a_class_is_refused(connection: asyncpg.Connection) -> None:
    refused = await refusal(connection, {"tenant": "acme"})

    assert (refused.code, refused.field, str(refused)) == ("bad_field", "job_class", "job 0: job_class is required")


@pytest.mark.parametrize("field", ["parameters", "user_metadata"])
async def test_a_document_above_a_mebibyte_is_too_large(connection: asyncpg.Connection, field: str) -> None:
    refused = await refusal(connection, {"job_class": "Nap", field: {"a": "x" * 1_048_577}})

    assert (refused.code, refused.field) == ("too_large", field)
    assert str(refused) == f"job 0: {field} is larger than 1 MiB"


@pytest.mark.parametrize("member", [1, "text", None, []])
async def test_a_member_that_is_no_object_is_refused(connection: asyncpg.Connection, member: Any) -> None:
    refused = await refusal(connection, {"job_class": "Nap"}, member)

    assert (refused.code, refused.field, refused.index) == ("bad_field", None, 1)


@pytest.mark.parametrize("written", ["1", '"text"', "null"])
async def test_a_submission_that_is_neither_object_nor_array_is_refused(
    connection: asyncpg.Connection, written: str
) -> None:
    with pytest.raises(InvalidSubmission, match="must be an object or an array of objects") as refused, translated():
        await Submitter().submit(connection, written)

    assert (refused.value.code, refused.value.field, refused.value.index) == ("bad_field", None, None)


async def test_a_batch_with_one_bad_member_is_refused_as_a_whole_and_the_first_bad_one_is_named(
    connection: asyncpg.Connection,
) -> None:
    good = {"job_class": "Nap", "idempotency_key": "k", "concurrency_key": "c"}

    refused = await refusal(connection, good, good, {"job_class": "Nap", "tenant": "a.b"}, {"job_class": ""})

    assert (refused.code, refused.field, refused.index) == ("bad_field", "tenant", 2)
    assert await connection.fetchval("SELECT count(*) FROM jobservice.idempotency_key") == 0
    assert await connection.fetchval("SELECT count(*) FROM jobservice.concurrency_key") == 0


async def test_a_batch_keeps_its_order_in_answers_and_numbers(connection: asyncpg.Connection) -> None:
    classes = [f"Job{n}" for n in range(200)]

    ids = await submit(connection, *({"job_class": name} for name in classes))

    rows = await connection.fetch("SELECT id, job_class FROM jobservice.job_info ORDER BY number")
    assert [(row["id"], row["job_class"]) for row in rows] == list(zip(ids, classes, strict=True))


async def test_an_empty_batch_is_accepted_and_does_nothing(connection: asyncpg.Connection) -> None:
    assert await submit(connection) == []


async def test_a_stranger_may_not_submit_where_only_known_tenants_may(connection: asyncpg.Connection) -> None:
    await connection.execute("INSERT INTO jobservice.setting VALUES ('tenants.closed', 'true')")
    await connection.execute("INSERT INTO jobservice.tenant (tenant) VALUES ('acme')")

    refused = await refusal(connection, {"job_class": "Nap", "tenant": "acme"}, {"job_class": "Nap", "tenant": "bolt"})
    (known,) = await submit(connection, {"job_class": "Nap", "tenant": "acme"})

    assert (refused.code, refused.field, refused.index) == ("unknown_tenant", "tenant", 1)
    assert "bolt" in str(refused)
    assert (await row_of(connection, known))["tenant"] == "acme"


# -------------------------------------------------------------------------------------------------------------- holds


async def test_a_trigger_date_holds_a_job_and_one_that_has_passed_does_not(connection: asyncpg.Connection) -> None:
    past = (datetime.now(UTC) - timedelta(minutes=1)).isoformat()

    held, due, user = await submit(
        connection,
        {"job_class": "Nap", "trigger_after_date": FUTURE},
        {"job_class": "Nap", "trigger_after_date": past},
        {"job_class": "Nap", "trigger_after_date": past, "status": "PENDING"},
    )

    rows = [await row_of(connection, job_id) for job_id in (held, due, user)]
    assert [(row["status"], row["held"]) for row in rows] == [
        ("PENDING", "trigger"), ("QUEUED", None), ("PENDING", "user"),
    ]  # fmt: skip


# ---------------------------------------------------------------------------------------------------- idempotency keys


async def test_the_same_key_gives_the_same_job_and_says_that_it_is_not_new(connection: asyncpg.Connection) -> None:
    job = json.dumps([{"job_class": "Nap", "idempotency_key": "once"}])

    ((first, created),) = await Submitter().submit(connection, job)
    ((second, again),) = await Submitter().submit(connection, job)

    assert first == second
    assert (created, again) == (True, False)
    assert await connection.fetchval("SELECT count(*) FROM jobservice.job_info") == 1


async def test_a_key_is_its_tenants_own(connection: asyncpg.Connection) -> None:
    acme, bolt = await submit(
        connection,
        {"job_class": "Nap", "tenant": "acme", "idempotency_key": "once"},
        {"job_class": "Nap", "tenant": "bolt", "idempotency_key": "once"},
    )

    assert acme != bolt


async def test_the_same_key_twice_in_one_batch_makes_one_job(connection: asyncpg.Connection) -> None:
    job = {"job_class": "Nap", "idempotency_key": "once"}

    answers = await Submitter().submit(connection, json.dumps([job, {"job_class": "Nap"}, job]))

    assert answers[0][0] == answers[2][0]
    assert [created for _, created in answers] == [True, True, False]


async def test_new_and_known_keys_may_stand_in_one_batch_beside_jobs_without(connection: asyncpg.Connection) -> None:
    (known,) = await submit(connection, {"job_class": "Nap", "idempotency_key": "known"})

    batch = [{"job_class": "Nap", "idempotency_key": key} for key in ("new", None, "known", None)]
    stored = await Submitter().submit(connection, json.dumps(batch))

    assert [created for _, created in stored] == [True, True, False, True]
    assert stored[2][0] == known
    keys = dict(await connection.fetch("SELECT key, job_id FROM jobservice.idempotency_key"))
    assert keys == {"known": known, "new": stored[0][0]}
    assert await connection.fetchval("SELECT count(*) FROM jobservice.job_info") == 4


async def test_keys_are_looked_up_not_searched_for(connection: asyncpg.Connection) -> None:
    batch = [{"job_class": "Nap", "idempotency_key": key, "concurrency_key": key} for key in ("k7", None, "new")]
    await submit(connection, *batch)  # the plans of a small table
    await connection.execute(
        """
        INSERT INTO jobservice.idempotency_key SELECT 'default', 'k' || n, gen_random_uuid()
        FROM generate_series(1, 20000) n ON CONFLICT DO NOTHING;
        INSERT INTO jobservice.concurrency_key SELECT 'default', 'k' || n
        FROM generate_series(1, 20000) n ON CONFLICT DO NOTHING;
        """
    )

    read = []
    for statement in ("SELECT 1", "ANALYZE"):
        await connection.execute(statement)
        async with connection.transaction():
            await submit(connection, *batch)
            read.append(
                await connection.fetchval(
                    """
                    SELECT sum(seq_tup_read + idx_tup_fetch) FROM pg_stat_xact_user_tables
                    WHERE schemaname = 'jobservice' AND relname IN ('idempotency_key', 'concurrency_key')
                    """
                )
            )

    assert max(read) < 100


@pytest.mark.parametrize("commits", [True, False])
async def test_two_clients_with_the_same_key_at_once_make_one_job_whichever_of_them_commits(
    connection: asyncpg.Connection, connect: Any, commits: bool
) -> None:
    other, watcher = await connect(), await connect()
    job = json.dumps([{"job_class": "Nap", "idempotency_key": "once"}])
    transaction = connection.transaction()
    await transaction.start()
    ((first, _),) = await Submitter().submit(connection, job)

    waiting = await begun(Submitter().submit(other, job), other, watcher)
    await (transaction.commit() if commits else transaction.rollback())
    ((second, created),) = await waiting

    assert (first == second) is commits
    assert created is not commits
    assert await connection.fetchval("SELECT count(*) FROM jobservice.job_info") == 1


async def test_batches_with_the_same_keys_in_opposite_order_do_not_deadlock(
    connection: asyncpg.Connection, connect: Any
) -> None:
    sessions = [await connect() for _ in range(4)]
    jobs = [{"job_class": "Nap", "idempotency_key": f"i{n}", "concurrency_key": f"c{n}"} for n in range(100)]
    written = [json.dumps(jobs), json.dumps(jobs[::-1])] * 2

    answers = await asyncio.gather(
        *(Submitter().submit(session, batch) for session, batch in zip(sessions, written, strict=True))
    )

    assert await connection.fetchval("SELECT count(*) FROM jobservice.job_info") == 100
    assert sum(created for answer in answers for _, created in answer) == 100
    assert [job_id for job_id, _ in answers[0]] == [job_id for job_id, _ in answers[1]][::-1]


# ------------------------------------------------------------------------------------------------------ any other text


@pytest.fixture(scope="module")
def rules(module_database_url: str) -> Any:
    """Asks for the problem of a document, in a loop of its own."""
    with asyncio.Runner(loop_factory=asyncio.new_event_loop) as runner:
        connection = runner.run(asyncpg.connect(module_database_url, server_settings={"search_path": "jobservice"}))

        def problem(job: Any) -> list[str] | None:
            found: list[str] | None = runner.run(
                connection.fetchval("SELECT submission_problem($1::text::jsonb)", json.dumps(job))
            )
            return found

        yield problem
        runner.run(connection.close())


@given(name=st.text(st.characters(exclude_characters="\x00", exclude_categories=("Cs",)), max_size=70))
@settings(max_examples=150, deadline=None, derandomize=True)
def test_the_database_and_the_code_agree_on_what_a_name_is(rules: Any, name: str) -> None:
    assert (rules({"job_class": name}) is None) is is_name(name)


values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text("ab\n.é", max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from("abc"), inner, max_size=3),
    max_leaves=5,
)
FIELDS = [
    "job_class", "tenant", "queue", "parameters", "priority", "description", "owner", "expiration_date", "timeout",
    "trigger_after_date", "max_attempts", "idempotency_key", "concurrency_key", "correlation_id", "traceparent",
    "user_metadata", "locked", "status",
]  # fmt: skip


@given(job=st.dictionaries(st.sampled_from(FIELDS), values, max_size=4) | values)
@settings(max_examples=300, deadline=None, derandomize=True)
def test_whatever_is_submitted_is_told_a_problem_or_none_and_never_breaks_the_rules_themselves(
    rules: Any, job: Any
) -> None:
    problem = rules(job)

    assert problem is None or problem[0] in ("bad_field", "unknown_field", "too_large")
