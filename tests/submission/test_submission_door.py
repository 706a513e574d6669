"""Submissions as messages of a foreign client: stored once, answered, refused with a reason, never lost."""

import json
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any

import asyncpg
import pytest
from doors import Consume, DatabaseProxy, Foreign, eventually

from jobservice.broker.consumer import GroupConsumer
from jobservice.broker.names import BrokerNames
from jobservice.client.service import JobInfoService
from jobservice.store.session import Session
from jobservice.submission.door import SubmissionDoor

MAX_BYTES = 8_388_608

OpenDoor = Callable[[], Awaitable[GroupConsumer]]


@pytest.fixture
def door(session: Session) -> SubmissionDoor:
    return SubmissionDoor(session=session, schema="jobservice", max_bytes=MAX_BYTES)


@pytest.fixture
def open_door(door: SubmissionDoor, consume: Consume, names: BrokerNames) -> OpenDoor:
    """Begins to take submissions."""
    return partial(consume, names.submissions, door)


def a_job(**fields: Any) -> dict[str, Any]:
    return {"job_class": "ChecksumTree", "parameters": {"root": "/data"}, **fields}


async def stored(connection: asyncpg.Connection) -> list[asyncpg.Record]:
    return list(
        await connection.fetch("SELECT *, parameters::text AS written FROM jobservice.job_info ORDER BY number")
    )


async def test_a_bare_message_is_a_job_of_the_tenant_in_its_routing_key(
    open_door: OpenDoor, foreign: Foreign, connection: asyncpg.Connection
) -> None:
    await open_door()

    asked = foreign.send(foreign.names.submit, "acme", a_job(priority=7, owner="me", user_metadata={"a": [1]}))

    answer = await foreign.answer(asked)
    (job,) = await stored(connection)
    assert answer == {"job_ids": [str(job["id"])]}
    assert (job["tenant"], job["status"], job["priority"], job["owner"]) == ("acme", "QUEUED", 7, "me")
    assert (json.loads(job["written"]), foreign.rejected()) == ({"root": "/data"}, [])


async def test_an_array_is_a_batch_answered_in_its_order_and_an_empty_one_by_no_ids(
    open_door: OpenDoor, foreign: Foreign, connection: asyncpg.Connection
) -> None:
    await open_door()

    batch = foreign.send(foreign.names.submit, "acme", [a_job(description=str(n), tenant="acme") for n in range(5)])
    nothing = foreign.send(foreign.names.submit, "acme", [])

    ids = (await foreign.answer(batch))["job_ids"]
    assert [(str(job["id"]), job["description"]) for job in await stored(connection)] == list(
        zip(ids, "01234", strict=True)
    )
    assert await foreign.answer(nothing) == {"job_ids": []}


async def test_integers_of_any_size_arrive_with_every_digit(
    open_door: OpenDoor, foreign: Foreign, connection: asyncpg.Connection
) -> None:
    await open_door()
    large = 2**63 + 10**300

    await foreign.answer(foreign.send(foreign.names.submit, "acme", a_job(parameters={"n": large, "m": 2**53 + 1})))

    (job,) = await stored(connection)
    assert json.loads(job["written"]) == {"n": large, "m": 2**53 + 1}


def nested(depth: int) -> bytes:
    return b'{"job_class":"A","parameters":' + b'{"a":' * (depth - 1) + b"{}" + b"}" * depth


PAST = (datetime.now(UTC) - timedelta(hours=1)).isoformat()

BAD: dict[str, tuple[str, Any, str, str | None]] = {
    "not JSON": ("acme", b"job_class=A", "bad_json", None),
    "empty": ("acme", b"", "bad_json", None),
    "not UTF-8": ("acme", b'{"job_class":"\xff\xfe"}', "bad_json", None),
    "UTF-16": ("acme", json.dumps(a_job()).encode("utf-16"), "bad_json", None),
    "10 MB": ("acme", json.dumps(a_job(description="x" * 10_000_000)).encode(), "too_large", None),
    "parameters of 2 MB": ("acme", a_job(parameters={"a": "x" * 2_000_000}), "too_large", "parameters"),
    "a scalar": ("acme", b"5", "bad_field", None),
    "unknown field": ("acme", a_job(job_name="x"), "unknown_field", "job_name"),
    "no class": ("acme", {"parameters": {}}, "bad_field", "job_class"),
    "class of a wrong type": ("acme", {"job_class": 5}, "bad_field", "job_class"),
    "tenant with a dot": ("acme.eu", a_job(), "bad_field", "tenant"),
    "tenant with a slash": ("acme/eu", a_job(), "bad_field", "tenant"),
    "tenant too long": ("a" * 200, a_job(), "bad_field", "tenant"),
    "no tenant": ("", a_job(), "bad_field", "tenant"),
    "another tenant in the body": ("acme", a_job(tenant="other"), "bad_field", "tenant"),
    "tenant of 300 characters in the body": ("acme", a_job(tenant="a" * 300), "bad_field", "tenant"),
    "tenant of a wrong type": ("acme", a_job(tenant=["acme"]), "bad_field", "tenant"),
    "priority beyond 32 bits": ("acme", a_job(priority=2**31), "bad_field", "priority"),
    "NUL in a text": ("acme", a_job(owner="a\x00b"), "bad_field", "owner"),
    "NUL in a parameter": ("acme", a_job(parameters={"a": ["x\x00"]}), "bad_field", "parameters.a[0]"),
    "lone surrogate": ("acme", b'{"job_class":"A","parameters":{"a":"\\ud800"}}', "bad_field", "parameters.a"),
    "nested 65 deep": ("acme", nested(65), "bad_field", None),
    "nested 1,000 deep": ("acme", nested(1_000), "bad_field", None),
    "nested 100,000 deep": ("acme", nested(100_000), "bad_field", None),
    "NaN": ("acme", b'{"job_class":"A","parameters":{"a":NaN}}', "bad_json", None),
    "Infinity": ("acme", b'{"job_class":"A","parameters":{"a":-Infinity}}', "bad_json", None),
    "1e999": ("acme", b'{"job_class":"A","parameters":{"a":1e999}}', "bad_field", "parameters.a"),
    "an integer of 5,000 digits": (
        "acme",
        b'{"job_class":"A","parameters":{"a":%b}}' % (b"9" * 5_000),
        "bad_field",
        None,
    ),
    "a date without zone": ("acme", a_job(expiration_date="2099-01-01T00:00:00"), "bad_field", "expiration_date"),
    "expiration in the past": ("acme", a_job(expiration_date=PAST), "bad_field", "expiration_date"),
    "negative timeout": ("acme", a_job(timeout=-1), "bad_field", "timeout"),
}


@pytest.mark.parametrize("case", BAD)
async def test_a_bad_message_is_kept_as_it_was_and_its_neighbours_are_stored(
    case: str,
    open_door: OpenDoor,
    foreign: Foreign,
    connection: asyncpg.Connection,
) -> None:
    tenant, body, code, field = BAD[case]
    raw = body if isinstance(body, bytes) else json.dumps(body).encode()

    before = foreign.send(foreign.names.submit, "acme", a_job(description="before"))
    asked = foreign.send(foreign.names.submit, tenant, raw)
    after = foreign.send(foreign.names.submit, "acme", a_job(description="after"))
    await open_door()

    error = (await foreign.answer(asked))["error"]
    assert (error["code"], bool(error["message"])) == (code, True)
    if field is not None:
        assert error["details"] == {"field": field}
    assert await foreign.one_rejected() == (raw, code)
    assert "job_ids" in await foreign.answer(before)
    assert "job_ids" in await foreign.answer(after)
    assert [job["description"] for job in await stored(connection)] == ["before", "after"]


async def test_one_bad_member_refuses_its_batch_by_index_and_no_other_message(
    open_door: OpenDoor, foreign: Foreign, connection: asyncpg.Connection
) -> None:
    asked = []
    for n in range(20):
        bad = {5: a_job(priority=2**40), 9: a_job(timeout="long"), 13: a_job(owner="\x00")}.get(n)
        batch = [a_job(description=f"{n}.0"), a_job(description=f"{n}.1"), bad or a_job(description=f"{n}.2")]
        asked.append(foreign.send(foreign.names.submit, "acme", batch))
    await open_door()

    answers = [await foreign.answer(each) for each in asked]

    errors = {n: answer["error"]["details"] for n, answer in enumerate(answers) if "error" in answer}
    assert errors == {
        5: {"field": "priority", "index": 2},
        9: {"field": "timeout", "index": 2},
        13: {"field": "owner", "index": 2},
    }
    assert answers[5]["error"]["message"].startswith("job 2: priority")
    kept = [f"{n}.{m}" for n in range(20) if n not in errors for m in range(3)]
    assert sorted(job["description"] for job in await stored(connection)) == sorted(kept)
    assert len(await eventually(lambda: foreign.left(foreign.names.rejected) == 3 and foreign.rejected())) == 3


async def test_where_tenants_are_closed_an_unknown_one_is_refused_and_a_known_one_is_not(
    open_door: OpenDoor, foreign: Foreign, connection: asyncpg.Connection
) -> None:
    await connection.execute("INSERT INTO jobservice.setting VALUES ('tenants.closed', 'true')")
    await connection.execute("INSERT INTO jobservice.tenant (tenant) VALUES ('acme')")
    known, unknown = (foreign.send(foreign.names.submit, tenant, a_job()) for tenant in ("acme", "stranger"))
    await open_door()

    assert "job_ids" in await foreign.answer(known)
    assert (await foreign.answer(unknown))["error"]["code"] == "unknown_tenant"
    assert (await foreign.one_rejected())[1] == "unknown_tenant"


@pytest.mark.parametrize("body", [a_job(), [a_job(), a_job()]], ids=["single", "batch"])
async def test_the_same_message_twice_makes_its_jobs_once(
    body: Any,
    open_door: OpenDoor,
    foreign: Foreign,
    connection: asyncpg.Connection,
) -> None:
    await open_door()

    first = await foreign.answer(foreign.send(foreign.names.submit, "acme", body, message_id="m-1"))
    again = await foreign.answer(foreign.send(foreign.names.submit, "acme", body, message_id="m-1"))

    assert first == again
    assert len(set(first["job_ids"])) == len(await stored(connection)) == (len(body) if isinstance(body, list) else 1)
    keys = await connection.fetch("SELECT key FROM jobservice.idempotency_key ORDER BY key")
    assert [row["key"] for row in keys] == (["amqp:m-1"] if isinstance(body, dict) else ["amqp:m-1/0", "amqp:m-1/1"])


async def test_the_same_key_from_a_message_and_a_client_at_once_makes_one_job(
    open_door: OpenDoor,
    foreign: Foreign,
    connection: asyncpg.Connection,
    database_url: str,
) -> None:
    await open_door()
    other = await asyncpg.connect(database_url)

    async with other.transaction():
        theirs = await other.fetchval(
            "SELECT job_id FROM jobservice.submit($1::text::jsonb)",
            json.dumps(a_job(tenant="acme", idempotency_key="order-1")),
        )
        held = foreign.send(foreign.names.submit, "acme", a_job(idempotency_key="order-1"))
        free = foreign.send(foreign.names.submit, "acme", a_job(idempotency_key="order-2"))
        assert "job_ids" in await foreign.answer(free), "a key that somebody holds holds up its own message only"
        assert foreign.answered(held) is None
    await other.close()

    assert await foreign.answer(held) == {"job_ids": [str(theirs)]}
    assert len(await stored(connection)) == 2


async def test_the_same_key_twice_in_one_group_makes_one_job(
    open_door: OpenDoor, foreign: Foreign, connection: asyncpg.Connection
) -> None:
    asked = [foreign.send(foreign.names.submit, "acme", a_job(idempotency_key="order-1")) for _ in range(2)]
    await open_door()

    first, second = [await foreign.answer(each) for each in asked]

    assert first == second
    assert len(await stored(connection)) == 1


async def test_while_the_database_is_away_messages_wait_and_none_is_lost_or_doubled(
    open_door: OpenDoor,
    foreign: Foreign,
    connection: asyncpg.Connection,
    proxy: DatabaseProxy,
) -> None:
    await open_door()
    asked = [foreign.send(foreign.names.submit, "acme", a_job(description=str(n))) for n in range(50)]
    await foreign.answer(asked[0])

    await proxy.away()
    asked += [foreign.send(foreign.names.submit, "acme", a_job(description=str(n))) for n in range(50, 80)]
    waiting = foreign.answered(asked[-1])
    await proxy.open()

    assert waiting is None
    for each in asked:
        assert "job_ids" in await foreign.answer(each)
    assert sorted(int(job["description"]) for job in await stored(connection)) == list(range(80))
    assert foreign.rejected() == []


@pytest.mark.parametrize("lost", ["commit", "answer"])
async def test_a_commit_whose_answer_is_lost_is_asked_for_and_not_done_again(
    lost: str,
    open_door: OpenDoor,
    foreign: Foreign,
    connection: asyncpg.Connection,
    proxy: DatabaseProxy,
) -> None:
    proxy.lose = lost
    await open_door()

    asked = foreign.send(foreign.names.submit, "acme", a_job())

    answer = await foreign.answer(asked)
    assert proxy.lose is None
    assert [str(job["id"]) for job in await stored(connection)] == answer["job_ids"]


@pytest.mark.parametrize("lost", ["statement", "stored"])
async def test_a_keyed_submission_whose_answer_is_lost_is_found_when_it_is_sent_again(
    lost: str,
    open_door: OpenDoor,
    foreign: Foreign,
    connection: asyncpg.Connection,
    proxy: DatabaseProxy,
) -> None:
    await open_door()
    await foreign.answer(
        foreign.send(foreign.names.submit, "acme", a_job(), message_id="m-0")
    )  # the statement is prepared
    proxy.lose = lost

    asked = foreign.send(foreign.names.submit, "acme", a_job(), message_id="m-1")

    answer = await foreign.answer(asked)
    assert proxy.lose is None
    assert [str(job["id"]) for job in await stored(connection)][1:] == answer["job_ids"]


async def test_without_the_schema_messages_wait_until_it_is_there(
    consume: Consume, foreign: Foreign, names: BrokerNames, connection: asyncpg.Connection, session: Session
) -> None:
    await connection.execute("ALTER SCHEMA jobservice RENAME TO elsewhere")
    door = SubmissionDoor(session=session, schema="jobservice", max_bytes=MAX_BYTES)
    await consume(names.submissions, door)
    asked = foreign.send(names.submit, "acme", a_job())
    await eventually(lambda: foreign.left(names.submissions) == 0)

    await connection.execute("ALTER SCHEMA elsewhere RENAME TO jobservice")

    assert "job_ids" in await foreign.answer(asked)
    assert foreign.rejected() == []


async def test_a_body_above_the_setting_is_too_large_without_being_read(
    session: Session, consume: Consume, foreign: Foreign, names: BrokerNames
) -> None:
    door = SubmissionDoor(session=session, schema="jobservice", max_bytes=1_024)
    await consume(names.submissions, door)

    asked = foreign.send(names.submit, "acme", b"x" * 1_025)

    assert (await foreign.answer(asked))["error"]["code"] == "too_large"


async def test_our_own_client_submits_through_the_door_and_is_told_what_is_wrong(
    open_door: OpenDoor, amqp_url: str, names: BrokerNames, connection: asyncpg.Connection
) -> None:
    from jobservice.domain.errors import InvalidSubmission
    from jobservice.sdk.job_info import JobInfo

    await open_door()

    async with JobInfoService.connect(amqp_url=amqp_url, prefix=names.prefix) as jobs:
        created = await jobs.create_many([JobInfo("A", tenant="acme"), JobInfo("B", tenant="acme")])
        with pytest.raises(InvalidSubmission) as refused:
            await jobs.create_many([JobInfo("A"), JobInfo("A", timeout=-1)])

    assert [job.job_id for job in created] == [job["id"] for job in await stored(connection)]
    assert (refused.value.code, refused.value.field, refused.value.index) == ("bad_field", "timeout", 1)


async def test_many_messages_are_stored_by_few_calls_in_their_order(
    open_door: OpenDoor, foreign: Foreign, connection: asyncpg.Connection
) -> None:
    for n in range(300):
        foreign.send(foreign.names.submit, "acme", a_job(description=str(n)), reply_to=None)

    await open_door()

    async def all_there() -> bool:
        return len(await stored(connection)) == 300

    await eventually(all_there)
    assert [int(job["description"]) for job in await stored(connection)] == list(range(300))
    calls = await connection.fetchval("SELECT count(DISTINCT xmin::text) FROM jobservice.job_info")
    assert calls < 60


async def test_the_answer_names_the_queues_of_which_no_event_will_come(
    open_door: OpenDoor, foreign: Foreign, connection: asyncpg.Connection
) -> None:
    await connection.execute("INSERT INTO jobservice.queue (queue, events) VALUES ('a', 'none'), ('b', 'final')")

    asked = foreign.send(foreign.names.submit, "acme", {"job_class": "Nap", "queue": "a"})
    await open_door()

    assert (await foreign.answer(asked))["unpublished_queues"] == ["a"]
