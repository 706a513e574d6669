"""Pipelines as messages of a foreign client: stored whole, added to, answered, refused with the path of the field."""

import json
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any
from uuid import uuid4

import asyncpg
import pytest
from doors import Consume, DatabaseProxy, Foreign

from jobservice.broker.consumer import GroupConsumer
from jobservice.broker.names import BrokerNames
from jobservice.store.session import Session
from jobservice.submission.door import SubmissionDoor

MAX_BYTES = 8_388_608

OpenDoor = Callable[[], Awaitable[GroupConsumer]]
Send = Callable[..., Awaitable[Any]]


@pytest.fixture
def open_door(session: Session, consume: Consume, names: BrokerNames) -> OpenDoor:
    """Begins to take submissions."""
    door = SubmissionDoor(session=session, schema="jobservice", max_bytes=MAX_BYTES)
    return partial(consume, names.submissions, door)


@pytest.fixture
async def send(open_door: OpenDoor, foreign: Foreign) -> Send:
    """Sends one submission and gives its answer."""
    await open_door()

    async def send(key: str, body: object, **properties: Any) -> Any:
        return await foreign.answer(foreign.send(foreign.names.submit, key, body, **properties))

    return send


def a_pipeline(**fields: Any) -> dict[str, Any]:
    stages = [{"name": "one", "job_class": "Nap", "jobs": [{}, {}]}, {"jobs": [{"job_class": "Nap"}]}]
    return {"pipeline": {"name": "p", "stages": stages, **fields}}


async def counts(connection: asyncpg.Connection) -> tuple[int, int, int]:
    """Pipelines, stages, jobs."""
    row = await connection.fetchrow(
        "SELECT (SELECT count(*) FROM jobservice.pipeline), (SELECT count(*) FROM jobservice.stage), "
        "(SELECT count(*) FROM jobservice.job_info)"
    )
    assert row is not None
    return row[0], row[1], row[2]


async def test_a_pipeline_is_stored_for_the_tenant_of_the_routing_key_and_answered_with_all_ids(
    send: Send, connection: asyncpg.Connection, foreign: Foreign
) -> None:
    answer = await send("acme", a_pipeline(priority="HIGH", data={"n": 2**70}, tenant="acme"))

    row = await connection.fetchrow("SELECT *, data::text AS written FROM jobservice.pipeline")
    stages = await connection.fetch("SELECT * FROM jobservice.stage ORDER BY position")
    assert answer == {
        "pipeline_id": str(row["id"]),
        "created": True,
        "stage_ids": [str(stage["id"]) for stage in stages],
    }
    assert (row["tenant"], row["status"], row["priority"], json.loads(row["written"])) == (
        "acme", "QUEUED", 100, {"n": 2**70},
    )  # fmt: skip
    assert [(stage["name"], stage["total"], stage["status"]) for stage in stages] == [
        ("one", 2, "QUEUED"),
        ("stage-2", 1, "PENDING"),
    ]
    assert foreign.rejected() == []


async def test_the_same_message_twice_makes_everything_once(send: Send, connection: asyncpg.Connection) -> None:
    body = a_pipeline(open=True)
    first = await send("acme", body, message_id="m-1")
    again = await send("acme", body, message_id="m-1")
    await send("other", body, message_id="m-1")
    more_stages = {"pipeline_id": first["pipeline_id"], "stages": [{"jobs": [{"job_class": "Nap"}]}, {}]}
    stages = [await send("acme", more_stages, message_id="m-2") for _ in range(2)]
    more_jobs = {"stage_id": first["stage_ids"][0], "jobs": [{}, {"job_class": "Other"}]}
    jobs = [await send("acme", more_jobs, message_id="m-3") for _ in range(2)]

    assert (again, first["created"]) == (first | {"created": False}, True)
    assert stages[0] == stages[1] and len(set(stages[0]["stage_ids"])) == 2
    assert stages[0]["positions"] == [3, 4]
    assert jobs[0] == jobs[1] and len(set(jobs[0]["job_ids"])) == 2
    assert await counts(connection) == (2, 2 + 2 + 2, 3 + 3 + 1 + 2)
    key = await connection.fetchval("SELECT idempotency_key FROM jobservice.pipeline WHERE tenant = 'acme'")
    assert key == "amqp:m-1"
    total = await connection.fetchval(
        "SELECT total FROM jobservice.stage WHERE id = $1::text::uuid", more_jobs["stage_id"]
    )
    assert total == 4


async def test_a_key_in_the_body_goes_before_that_of_the_message(send: Send, connection: asyncpg.Connection) -> None:
    first = await send("acme", a_pipeline(idempotency_key="k"), message_id="m-1")
    again = await send("acme", a_pipeline(idempotency_key="k"), message_id="m-2")

    assert again == first | {"created": False}
    assert (await counts(connection))[0] == 1


BAD: list[tuple[str, Any, str, str | None]] = [
    ("acme", {"pipeline": {}}, "bad_field", "name"),
    ("acme", {"pipeline": [5]}, "bad_field", "pipeline"),
    ("acme", {"pipeline": None}, "bad_field", "pipeline"),
    ("acme", a_pipeline() | {"job_class": "Nap"}, "unknown_field", "job_class"),
    ("acme", a_pipeline(tenant="other"), "bad_field", "tenant"),
    ("acme.eu", a_pipeline(), "bad_field", "tenant"),
    ("acme", a_pipeline(stages=[{}, {"jobs": [{"job_class": "Nap", "a": 1}]}]), "unknown_field", "stages[1].jobs[0].a"),
    ("acme", a_pipeline(stages=[{"jobs": [{}]}]), "bad_field", "stages[0].jobs[0].job_class"),
    ("acme", a_pipeline(stages=[{"data": {"a": ["\x00"]}}]), "bad_field", "stages[0].data.a[0]"),
    ("acme", a_pipeline(stages=[{}] * 1_001), "too_large", None),
    ("acme", a_pipeline(stages=[{"job_class": "Nap", "jobs": [{}] * 50_001}] * 2), "too_large", None),
    ("acme", a_pipeline(data={"a": "x" * 2_000_000}), "too_large", "data"),
    ("acme", a_pipeline(data={"a": "x" * 10_000_000}), "too_large", None),
    ("acme", b'{"pipeline": {"name": "p", "data": {"a": 1e999}}}', "bad_field", "data.a"),
    ("acme", [{"job_class": "Nap"}, a_pipeline()], "bad_field", "pipeline"),
    ("acme", [a_pipeline()], "bad_field", "pipeline"),
    ("acme", {"stages": []}, "bad_field", "pipeline_id"),
    ("acme", {"pipeline_id": "garbage", "stages": [{}]}, "bad_field", "pipeline_id"),
    ("acme", {"pipeline_id": str(uuid4()), "stages": {}}, "bad_field", "stages"),
    ("acme", {"stage_id": str(uuid4()), "jobs": [{"job_class": "Nap"}]}, "unknown_stage", None),
    ("acme", {"pipeline_id": str(uuid4()), "stages": [{}]}, "unknown_pipeline", None),
    ("acme", {"pipeline_id": str(uuid4())}, "bad_field", "pipeline_id"),
    ("acme", {"job_class": "Nap", "stage_id": str(uuid4())}, "bad_field", "stage_id"),
]  # fmt: skip


async def test_a_bad_one_is_kept_as_it_was_and_answered_with_code_and_path(
    send: Send, connection: asyncpg.Connection, foreign: Foreign
) -> None:
    for key, body, code, field in BAD:
        told = (await send(key, body))["error"]

        ((kept, reason),) = foreign.rejected()
        assert (told["code"], told["details"].get("field"), reason) == (code, field, code), body
        assert kept == (body if isinstance(body, bytes) else json.dumps(body).encode())
        assert field is None or field in told["message"] or "batch holds jobs only" in told["message"]
    assert await counts(connection) == (0, 0, 0)


async def test_a_batch_that_mixes_is_refused_whole_and_says_which_member_it_was(send: Send) -> None:
    told = (await send("acme", [{"job_class": "Nap"}, a_pipeline()]))["error"]

    assert told["details"] == {"field": "pipeline", "index": 1}
    assert told["message"] == "job 1: a batch holds jobs only: send each pipeline as a message of its own"


async def test_what_is_added_to_anothers_pipeline_or_an_ended_one_is_refused(
    send: Send, connection: asyncpg.Connection
) -> None:
    made = await send("acme", a_pipeline())
    stages = {"pipeline_id": made["pipeline_id"], "stages": [{}]}
    jobs = {"stage_id": made["stage_ids"][0], "jobs": [{"job_class": "Nap"}]}

    assert (await send("other", stages))["error"]["code"] == "unknown_pipeline"
    assert (await send("other", jobs))["error"]["code"] == "unknown_stage"
    await connection.execute("SELECT jobservice.command_pipelines(ARRAY[$1::text::uuid], 'stop')", made["pipeline_id"])
    for body in (stages, jobs):
        error = (await send("acme", body))["error"]
        assert (error["code"], error["details"]) == ("not_legal", {"status": "ABORTED"})
    assert await counts(connection) == (1, 2, 3)


async def test_its_neighbours_in_one_group_are_stored_though_one_is_refused(
    open_door: OpenDoor, foreign: Foreign, connection: asyncpg.Connection
) -> None:
    submit = foreign.names.submit
    job = foreign.send(submit, "acme", {"job_class": "Nap"})
    bad = foreign.send(submit, "acme", {"pipeline": {"name": "no.dots"}})
    pipeline = foreign.send(submit, "acme", a_pipeline())
    await open_door()

    assert "job_ids" in await foreign.answer(job)
    assert (await foreign.answer(bad))["error"]["details"]["field"] == "name"
    assert (await foreign.answer(pipeline))["created"] is True
    assert await counts(connection) == (1, 2, 4)


@pytest.mark.parametrize("lost", ["commit", "answer"])
async def test_a_commit_whose_answer_is_lost_is_asked_for_and_not_done_again(
    lost: str, open_door: OpenDoor, foreign: Foreign, connection: asyncpg.Connection, proxy: DatabaseProxy
) -> None:
    proxy.lose = lost
    await open_door()

    answer = await foreign.answer(foreign.send(foreign.names.submit, "acme", a_pipeline()))

    assert proxy.lose is None
    assert await counts(connection) == (1, 2, 3)
    assert answer["pipeline_id"] == str(await connection.fetchval("SELECT id FROM jobservice.pipeline"))


async def test_a_pipeline_that_somebody_holds_holds_up_its_own_message_only(
    send: Send, foreign: Foreign, connection: asyncpg.Connection
) -> None:
    made = await send("acme", a_pipeline())
    holding = connection.transaction()
    await holding.start()
    await connection.fetch("SELECT FROM jobservice.pipeline FOR UPDATE")
    added = foreign.send(foreign.names.submit, "acme", {"pipeline_id": made["pipeline_id"], "stages": [{}]})

    other = await send("acme", a_pipeline(name="other"))

    assert other["created"] is True
    assert foreign.answered(added) is None
    await holding.rollback()
    assert len((await foreign.answer(added))["stage_ids"]) == 1
    assert foreign.rejected() == []
