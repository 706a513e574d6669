"""Commands as messages of a foreign client: a tenant reaches its own jobs, the operator all, and each is answered."""

import json
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

import asyncpg
import pytest
from commanding import Ask, OpenDoor, a_job, row
from doors import DatabaseProxy, Foreign

from jobservice.client.service import JobInfoService
from jobservice.domain.errors import NotLegal, UnknownJob


async def test_a_waiting_job_is_stopped_and_a_running_one_is_marked(ask: Ask, connection: asyncpg.Connection) -> None:
    waiting, running = await a_job(connection), await a_job(connection, "RUNNING")

    answer = await ask("acme", {"command": "stop", "job_ids": [running, waiting], "reason": "enough"})

    assert answer == {
        "results": [
            {"job_id": running, "status": "RUNNING", "accepted": True, "code": None},
            {"job_id": waiting, "status": "ABORTED", "accepted": True, "code": None},
        ]
    }
    assert (await row(connection, running))["stop_reason"] == "enough"


async def test_unknown_ended_and_others_jobs_are_told_apart_and_left_alone(
    ask: Ask, connection: asyncpg.Connection, foreign: Foreign
) -> None:
    ended, others, unknown = await a_job(connection, "FAILED"), await a_job(connection, tenant="other"), str(uuid4())

    answer = await ask("acme", {"command": "stop", "job_ids": [ended, others, unknown]})

    told = [(result["status"], result["accepted"], result["code"]) for result in answer["results"]]
    assert told == [("FAILED", False, "not_legal"), (None, False, "unknown_job"), (None, False, "unknown_job")]
    assert (await row(connection, others))["status"] == "QUEUED"
    assert foreign.rejected() == []


@pytest.mark.parametrize(
    ("command", "status", "becomes"),
    [
        ("stop", "QUEUED", "ABORTED"),
        ("enqueue", "PENDING", "QUEUED"),
        ("restart", "FAILED", "QUEUED"),
        ("rerun", "FAILED", "FAILED"),
        ("lock", "RUNNING", "RUNNING"),
        ("unlock", "QUEUED", "QUEUED"),
    ],
)
async def test_each_command_reaches_the_tenants_own_job_the_operators_and_no_other(
    command: str, status: str, becomes: str, ask: Ask, connection: asyncpg.Connection
) -> None:
    job = await a_job(connection, status)

    (by_other,) = (await ask("other", {"command": command, "job_id": job}))["results"]
    (by_walled_operator,) = (await ask("_operator", {"command": command, "job_id": job, "tenant": "other"}))["results"]
    (by_tenant,) = (await ask("acme", {"command": command, "job_id": job}))["results"]
    another = await a_job(connection, status)
    (by_operator,) = (await ask("_operator", {"command": command, "job_id": another}))["results"]

    assert by_other["code"] == by_walled_operator["code"] == "unknown_job"
    assert (by_tenant["accepted"], by_tenant["status"]) == (by_operator["accepted"], by_operator["status"])
    assert (by_tenant["accepted"], by_tenant["status"]) == (True, becomes)
    assert (await row(connection, job))["status"] == becomes


async def test_a_selection_stops_what_it_names_of_this_tenant_and_nothing_else(
    ask: Ask, connection: asyncpg.Connection
) -> None:
    ours = {await a_job(connection, owner="me") for _ in range(3)} | {await a_job(connection, "RUNNING", owner="me")}
    spared = [await a_job(connection, owner="you"), await a_job(connection, owner="me", tenant="other")]
    pending = await a_job(connection, "PENDING", owner="them", job_class="Copy")

    by_owner = await ask("acme", {"command": "stop", "owner": "me"})
    by_class = await ask("acme", {"command": "stop", "job_class": "Copy", "status": ["PENDING", "FAILED"]})

    assert {result["job_id"] for result in by_owner["results"]} == ours
    assert [result["job_id"] for result in by_class["results"]] == [pending]
    assert [(await row(connection, job))["status"] for job in spared] == ["QUEUED", "QUEUED"]


async def test_thousands_of_jobs_are_stopped_by_one_selection(ask: Ask, connection: asyncpg.Connection) -> None:
    jobs = json.dumps([{"job_class": "Copy", "tenant": "acme"}] * 2_300)
    await connection.fetch("SELECT FROM jobservice.submit($1::text::jsonb)", jobs)

    answer = await ask("acme", {"command": "stop", "status": "QUEUED"})

    assert sum(result["accepted"] for result in answer["results"]) == 2_300
    assert await connection.fetchval("SELECT count(*) FROM jobservice.job_info WHERE status <> 'ABORTED'") == 0


async def test_a_rerun_names_the_new_job_and_the_same_message_twice_makes_one(
    ask: Ask, connection: asyncpg.Connection
) -> None:
    ended = await a_job(connection, "FAILED", priority=9)

    (first,) = (await ask("acme", {"command": "rerun", "job_id": ended}, message_id="m-1"))["results"]
    (again,) = (await ask("acme", {"command": "rerun", "job_id": ended}, message_id="m-1"))["results"]

    new = await row(connection, first["new_job_id"])
    assert (new["status"], new["priority"], str(new["rerun_of"])) == ("QUEUED", 9, ended)
    assert again["new_job_id"] == first["new_job_id"]
    assert await connection.fetchval("SELECT count(*) FROM jobservice.job_info") == 2


async def test_a_refused_rerun_says_why_and_spoils_no_other_of_its_command(
    ask: Ask, connection: asyncpg.Connection
) -> None:
    known, unknown = await a_job(connection, "FAILED"), await a_job(connection, "FAILED", tenant="stranger")
    await connection.execute("INSERT INTO jobservice.setting VALUES ('tenants.closed', 'true')")
    await connection.execute("INSERT INTO jobservice.tenant (tenant) VALUES ('acme')")

    answer = await ask("_operator", {"command": "rerun", "job_ids": [unknown, known]})

    assert [(result["accepted"], result["code"]) for result in answer["results"]] == [
        (False, "unknown_tenant"),
        (True, None),
    ]


async def test_priority_and_expiration_of_a_waiting_job_are_updated(ask: Ask, connection: asyncpg.Connection) -> None:
    job, date = await a_job(connection), datetime.now(UTC) + timedelta(days=1)

    await ask("acme", {"command": "update", "job_id": job, "priority": "HIGH", "expiration_date": date.isoformat()})

    changed = await row(connection, job)
    assert (changed["priority"], changed["expiration_date"]) == (100, date)


JOB = str(uuid4())
BAD: dict[str, tuple[str, Any, str, str | None]] = {
    "not JSON": ("acme", b"stop", "bad_json", None),
    "not UTF-8": ("acme", b'{"command":"\xff"}', "bad_json", None),
    "NaN": ("acme", b'{"command":"stop","job_id":NaN}', "bad_json", None),
    "10 MB": ("acme", b" " * 10_000_000, "too_large", None),
    "nested 100,000 deep": ("acme", b'{"command":' + b"[" * 100_000 + b"]" * 100_000 + b"}", "bad_field", None),
    "an array": ("acme", [{"command": "stop", "job_id": JOB}], "bad_field", None),
    "no command": ("acme", {"job_id": JOB}, "bad_field", "command"),
    "unknown command": ("acme", {"command": "explode", "job_id": JOB}, "bad_field", "command"),
    "unknown field": ("acme", {"command": "stop", "job_id": JOB, "force": True}, "unknown_field", "force"),
    "no job": ("acme", {"command": "stop"}, "bad_field", "job_id"),
    "both kinds of ids": ("acme", {"command": "stop", "job_id": JOB, "job_ids": [JOB]}, "bad_field", "job_ids"),
    "an id that is none": ("acme", {"command": "stop", "job_id": "17"}, "bad_field", "job_id"),
    "ids and a selection": ("acme", {"command": "stop", "job_id": JOB, "owner": "me"}, "bad_field", "job_ids"),
    "ended status": ("acme", {"command": "stop", "status": "FAILED"}, "bad_field", "status"),
    "NUL in a text": ("acme", {"command": "stop", "owner": "a\x00"}, "bad_field", "owner"),
    "lone surrogate": ("acme", b'{"command":"stop","owner":"\\ud800"}', "bad_field", "owner"),
    "priority beyond 32 bits": (
        "acme",
        {"command": "update", "job_id": JOB, "priority": 2**31},
        "bad_field",
        "priority",
    ),
    "priority as a float": ("acme", {"command": "update", "job_id": JOB, "priority": 1.5}, "bad_field", "priority"),
    "a date without zone": (
        "acme",
        {"command": "restart", "job_id": JOB, "expiration_date": "2099-01-01T00:00:00"},
        "bad_field",
        "expiration_date",
    ),
    "a date beyond all dates": (
        "acme",
        {"command": "restart", "job_id": JOB, "expiration_date": "9999-12-31T23:59:59-12:00"},
        "bad_field",
        "expiration_date",
    ),
    "another tenant in the body": (
        "acme",
        {"command": "stop", "job_id": JOB, "tenant": "other"},
        "bad_field",
        "tenant",
    ),
    "another tenant's pause": ("acme", {"command": "pause_tenant", "tenant": "other"}, "bad_field", "tenant"),
    "tenant with a dot": ("acme.eu", {"command": "stop", "job_id": JOB}, "bad_field", "tenant"),
    "no tenant": ("", {"command": "stop", "job_id": JOB}, "bad_field", "tenant"),
    "pause of nobody": ("_operator", {"command": "pause_tenant"}, "bad_field", "tenant"),
    "a tenant's pause of a queue": ("acme", {"command": "pause_queue", "queue": "q"}, "refused", "command"),
    "a tenant's own limit": ("acme", {"command": "set_limit", "tenant": "acme", "weight": 9}, "refused", "command"),
    "a tenant's hold": ("acme", {"command": "hold_class", "job_class": "Nap"}, "refused", "command"),
    "hold of no class": ("_operator", {"command": "hold_class", "job_class": "a.b"}, "bad_field", "job_class"),
    "a tenant's drain": ("acme", {"command": "drain"}, "refused", "command"),
    "negative limit": (
        "_operator",
        {"command": "set_limit", "queue": "q", "max_running": -1},
        "bad_field",
        "max_running",
    ),
    "queue with a dot": ("_operator", {"command": "pause_queue", "queue": "a.b"}, "bad_field", "queue"),
}


@pytest.mark.parametrize("case", BAD)
async def test_a_bad_command_is_kept_as_it_was_and_its_neighbours_are_done(
    case: str, open_door: OpenDoor, foreign: Foreign, connection: asyncpg.Connection
) -> None:
    key, body, code, field = BAD[case]
    raw = body if isinstance(body, bytes) else json.dumps(body).encode()
    stop = [{"command": "stop", "job_id": await a_job(connection)} for _ in range(2)]

    before = foreign.send(foreign.names.command, "acme", stop[0])
    asked = foreign.send(foreign.names.command, key, raw)
    after = foreign.send(foreign.names.command, "acme", stop[1])
    await open_door()

    error = (await foreign.answer(asked))["error"]
    assert (error["code"], bool(error["message"])) == (code, True)
    if field is not None:
        assert error["details"]["field"] == field
    assert await foreign.one_rejected() == (raw, code)
    assert (await foreign.answer(before))["results"][0]["accepted"]
    assert (await foreign.answer(after))["results"][0]["accepted"]


async def test_a_job_that_a_client_holds_holds_up_its_own_command_only(
    open_door: OpenDoor, foreign: Foreign, connection: asyncpg.Connection
) -> None:
    held, free = await a_job(connection), await a_job(connection)
    async with connection.transaction():
        await connection.execute("SELECT FROM jobservice.job_info WHERE id = $1::text::uuid FOR UPDATE", held)
        asked = [
            foreign.send(foreign.names.command, "acme", {"command": "stop", "job_id": job}) for job in (held, free)
        ]

        await open_door()
        assert (await foreign.answer(asked[1]))["results"][0]["accepted"]
        assert foreign.answered(asked[0]) is None

    assert (await foreign.answer(asked[0]))["results"][0]["status"] == "ABORTED"


async def test_while_the_database_is_away_commands_wait_and_are_done_afterwards(
    ask: Ask, foreign: Foreign, connection: asyncpg.Connection, proxy: DatabaseProxy
) -> None:
    jobs = [await a_job(connection) for _ in range(5)]
    await ask("acme", {"command": "stop", "job_id": jobs[0]})

    await proxy.away()
    asked = [foreign.send(foreign.names.command, "acme", {"command": "stop", "job_id": job}) for job in jobs[1:]]
    await proxy.open()

    for each in asked:
        assert (await foreign.answer(each))["results"][0]["accepted"]
    assert foreign.rejected() == []


@pytest.mark.parametrize("lost", ["commit", "answer"])
async def test_a_rerun_whose_commit_is_in_doubt_is_done_once(
    lost: str, ask: Ask, connection: asyncpg.Connection, proxy: DatabaseProxy
) -> None:
    ended = await a_job(connection, "FAILED")
    proxy.lose = lost

    (result,) = (await ask("acme", {"command": "rerun", "job_id": ended}))["results"]

    assert proxy.lose is None
    new = await connection.fetch("SELECT id FROM jobservice.job_info WHERE rerun_of IS NOT NULL")
    assert [str(found["id"]) for found in new] == [result["new_job_id"]]


async def test_our_own_client_commands_through_the_door(
    open_door: OpenDoor, foreign: Foreign, connection: asyncpg.Connection, amqp_url: str
) -> None:
    await open_door()
    job, others = UUID(await a_job(connection)), UUID(await a_job(connection, tenant="other"))

    async with JobInfoService.connect(amqp_url=amqp_url, prefix=foreign.names.prefix, tenant="acme") as jobs:
        (stopped,) = await jobs.stop(job)
        with pytest.raises(NotLegal, match="ABORTED"):
            await jobs.stop(job)
        with pytest.raises(UnknownJob):
            await jobs.stop(others)
        again = await jobs.rerun(job)

    assert (stopped.status, again.rerun_of) == ("ABORTED", job)
