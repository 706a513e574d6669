"""Commands on pipelines and stages as messages of a foreign client: each tenant its own, refusals name the state."""

import json
from typing import Any
from uuid import uuid4

import asyncpg
import pytest
from commanding import Ask
from doors import DatabaseProxy, Foreign

from jobservice.control import pipeline_acting
from jobservice.domain.pipelines import PIPELINE_VERBS, PipelineStatus, PipelineVerb

COMMANDS: dict[str, tuple[PipelineVerb, dict[str, Any]]] = {
    "start_pipeline": (PipelineVerb.START, {}),
    "pause_pipeline": (PipelineVerb.PAUSE, {}),
    "resume_pipeline": (PipelineVerb.RESUME, {}),
    "stop_pipeline": (PipelineVerb.STOP, {"reason": "enough"}),
    "seal_pipeline": (PipelineVerb.SEAL, {}),
    "restart_pipeline": (PipelineVerb.RESTART, {}),
    "delete_pipeline": (PipelineVerb.DELETE, {}),
    "set_pipeline_priority": (PipelineVerb.SET_PRIORITY, {"priority": "HIGH"}),
    "update_pipeline_metadata": (PipelineVerb.UPDATE_METADATA, {"user_metadata": {"a": 1}}),
}
STAGE_COMMANDS: dict[str, dict[str, Any]] = {
    "release_stage": {},
    "seal_stage": {},
    "update_stage_metadata": {"user_metadata": {"a": 2**70}},
}


async def a_pipeline(connection: asyncpg.Connection, status: str, **fields: Any) -> tuple[str, list[str]]:
    """A pipeline of acme's after its life so far, open where it has not ended; its id and its stages'."""
    stage = {"job_class": "Nap", "jobs": [{}], "hold": True, "open": True}
    submitted = {"name": "p", "tenant": "acme", "open": True, "stages": [stage], **fields}
    if status == "PENDING":
        submitted["status"] = status
    if status == "SUCCEEDED":
        submitted |= {"stages": [{}], "open": False}
    pipeline_id = await connection.fetchval(
        "SELECT pipeline_id FROM jobservice.submit_pipeline($1::text::jsonb)", json.dumps(submitted)
    )
    if status == "ABORTED":
        await connection.execute("SELECT jobservice.command_pipelines(ARRAY[$1::uuid], 'stop')", pipeline_id)
    stages = await connection.fetch(
        "SELECT id FROM jobservice.stage WHERE pipeline_id = $1 ORDER BY position", pipeline_id
    )
    await connection.execute("DELETE FROM jobservice.outbox")  # else `delete` waits until they are published
    return str(pipeline_id), [str(stage["id"]) for stage in stages]


async def row(connection: asyncpg.Connection, table: str, identity: str) -> asyncpg.Record | None:
    return await connection.fetchrow(f"SELECT * FROM jobservice.{table} WHERE id = $1::text::uuid", identity)


@pytest.mark.parametrize("status", ["PENDING", "QUEUED", "SUCCEEDED", "ABORTED"])
async def test_each_command_is_taken_where_the_table_says_so_and_refused_with_the_state_elsewhere(
    status: str, ask: Ask, connection: asyncpg.Connection, foreign: Foreign
) -> None:
    for command, (verb, arguments) in COMMANDS.items():
        pipeline, _ = await a_pipeline(connection, status)

        (result,) = (await ask("acme", {"command": command, "pipeline_id": pipeline, **arguments}))["results"]

        legal = PipelineStatus(status) in PIPELINE_VERBS[verb]
        code = None if legal else "not_legal"
        assert (result["pipeline_id"], result["accepted"], result["code"]) == (pipeline, legal, code), command
        assert legal or result["status"] == status
        now = await row(connection, "pipeline", pipeline)
        if now is None:
            assert command == "delete_pipeline"
        else:
            assert now["status"] == result["status"]
    assert foreign.rejected() == []


@pytest.mark.parametrize("command", ["restart_pipeline", "delete_pipeline"])
async def test_what_moves_more_jobs_at_once_than_a_statement_has_time_for_is_refused_at_once(
    command: str, ask: Ask, connection: asyncpg.Connection, foreign: Foreign, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pipeline_acting, "JOBS_MAX", 2)
    trees = [[{"job_class": "Nap", "jobs": [{}] * count}] for count in (1, 2)]
    small, large = [(await a_pipeline(connection, "ABORTED", stages=stages))[0] for stages in trees]

    refused = await ask("acme", {"command": command, "pipeline_ids": [small, large]})
    (result,) = (await ask("acme", {"command": command, "pipeline_id": large}))["results"]

    assert refused["error"]["code"] == "too_large"
    assert "3 jobs" in refused["error"]["message"]
    assert result["accepted"]
    assert len(foreign.rejected()) == 1


async def test_a_pipeline_is_reached_by_its_tenant_and_the_operator_and_nobody_else(
    ask: Ask, connection: asyncpg.Connection
) -> None:
    for command, (_, arguments) in COMMANDS.items():
        pipeline, _ = await a_pipeline(connection, "QUEUED")
        before = await row(connection, "pipeline", pipeline)
        body = {"command": command, "pipeline_ids": [pipeline], **arguments}

        (by_other,) = (await ask("other", body))["results"]
        (by_walled_operator,) = (await ask("_operator", body | {"tenant": "other"}))["results"]

        nothing = {"pipeline_id": pipeline, "status": None, "accepted": False, "code": "unknown_pipeline"}
        assert by_other == by_walled_operator == nothing, command
        assert await row(connection, "pipeline", pipeline) == before
        (by_operator,) = (await ask("_operator", body))["results"]
        assert by_operator["code"] != "unknown_pipeline"


async def test_a_stage_is_reached_by_its_tenant_and_the_operator_and_nobody_else(
    ask: Ask, connection: asyncpg.Connection
) -> None:
    for command, arguments in STAGE_COMMANDS.items():
        for key in ("acme", "_operator"):
            _, (stage,) = await a_pipeline(connection, "QUEUED")
            body = {"command": command, "stage_id": stage, **arguments}

            (by_other,) = (await ask("other", body))["results"]
            (result,) = (await ask(key, body))["results"]

            assert by_other == {"stage_id": stage, "status": None, "accepted": False, "code": "unknown_stage"}
            assert (result["stage_id"], result["accepted"], result["code"]) == (stage, True, None)
            now = await row(connection, "stage", stage)
            assert now is not None
            assert now["status"] == result["status"]
            assert (now["hold"], now["open"], json.loads(now["user_metadata"])) == (
                command != "release_stage", command != "seal_stage", arguments.get("user_metadata", {}),
            )  # fmt: skip


async def test_stages_of_what_has_ended_are_refused_with_their_state(ask: Ask, connection: asyncpg.Connection) -> None:
    _, (stage,) = await a_pipeline(connection, "ABORTED")

    for command in ("release_stage", "seal_stage"):
        (result,) = (await ask("acme", {"command": command, "stage_ids": [stage]}))["results"]
        assert result == {"stage_id": stage, "status": "ABORTED", "accepted": False, "code": "not_legal"}


async def test_each_of_several_is_tried_and_answered_in_the_order_given(
    ask: Ask, connection: asyncpg.Connection
) -> None:
    first, second = [(await a_pipeline(connection, "QUEUED"))[0] for _ in range(2)]
    ended, unknown = (await a_pipeline(connection, "SUCCEEDED"))[0], str(uuid4())

    ids = [second, unknown, ended, first]
    results = (await ask("acme", {"command": "stop_pipeline", "pipeline_ids": ids, "reason": "enough"}))["results"]

    assert [result["pipeline_id"] for result in results] == ids
    assert [(each["status"], each["accepted"], each["code"]) for each in results] == [
        ("ABORTED", True, None), (None, False, "unknown_pipeline"), ("SUCCEEDED", False, "not_legal"),
        ("ABORTED", True, None),
    ]  # fmt: skip
    stopped = await row(connection, "pipeline", first)
    assert stopped is not None
    assert stopped["reason"] == "enough"
    assert (await ask("acme", {"command": "start_pipeline", "pipeline_ids": []})) == {"results": []}


async def test_why_a_verb_was_refused_is_told_beside_the_state(ask: Ask, connection: asyncpg.Connection) -> None:
    pipeline, _ = await a_pipeline(connection, "QUEUED", open=False)

    (result,) = (await ask("acme", {"command": "seal_pipeline", "pipeline_id": pipeline}))["results"]

    assert (result["code"], result["reason"]) == ("not_legal", "it is not open")


ID = str(uuid4())
BAD: list[tuple[dict[str, Any], str, str]] = [
    ({"command": "start_pipeline"}, "bad_field", "pipeline_id"),
    ({"command": "start_pipeline", "pipeline_id": "garbage"}, "bad_field", "pipeline_id"),
    ({"command": "start_pipeline", "job_id": ID}, "unknown_field", "job_id"),
    ({"command": "start_pipeline", "pipeline_id": ID, "pipeline_ids": []}, "bad_field", "pipeline_id"),
    ({"command": "start_pipeline", "pipeline_ids": [ID, 5]}, "bad_field", "pipeline_ids"),
    ({"command": "delete_pipeline", "pipeline_ids": [ID] * 1_001}, "bad_field", "pipeline_ids"),
    ({"command": "set_pipeline_priority", "pipeline_id": ID}, "bad_field", "priority"),
    ({"command": "set_pipeline_priority", "pipeline_id": ID, "priority": 2**31}, "bad_field", "priority"),
    ({"command": "update_stage_metadata", "stage_id": ID, "user_metadata": []}, "bad_field", "user_metadata"),
    ({"command": "update_stage_metadata", "stage_id": ID, "user_metadata": ["\0"]}, "bad_field", "user_metadata[0]"),
    ({"command": "stop_pipeline", "pipeline_id": ID, "reason": "x" * 1_001}, "bad_field", "reason"),
    ({"command": "release_stage", "pipeline_id": ID}, "unknown_field", "pipeline_id"),
    ({"command": "release_stages", "stage_id": ID}, "bad_field", "command"),
    ({"command": "seal_stage", "stage_id": ID, "tenant": "other"}, "bad_field", "tenant"),
]  # fmt: skip


async def test_garbage_is_kept_and_answered_with_code_and_field(ask: Ask, foreign: Foreign) -> None:
    for command, code, field in BAD:
        told = (await ask("acme", command))["error"]

        ((kept, reason),) = foreign.rejected()
        assert (told["code"], told["details"]["field"], reason) == (code, field, code), command
        assert json.loads(kept) == command


async def test_of_three_simultaneous_starts_by_message_one_wins(
    ask: Ask, connection: asyncpg.Connection, foreign: Foreign
) -> None:
    pipeline, _ = await a_pipeline(connection, "PENDING")

    body = {"command": "start_pipeline", "pipeline_id": pipeline}
    asked = [foreign.send(foreign.names.command, "acme", body, message_id=f"m-{n}") for n in range(3)]

    told = [(await foreign.answer(each))["results"][0] for each in asked]
    assert sorted((each["accepted"], each["code"]) for each in told if not each["accepted"]) == [
        (False, "not_legal"), (False, "not_legal"),
    ]  # fmt: skip


@pytest.mark.parametrize("lost", ["commit", "answer"])
async def test_a_command_whose_answer_from_the_database_is_lost_is_done_once(
    lost: str, ask: Ask, connection: asyncpg.Connection, proxy: DatabaseProxy
) -> None:
    pipeline, _ = await a_pipeline(connection, "PENDING")
    proxy.lose = lost

    (result,) = (await ask("acme", {"command": "start_pipeline", "pipeline_id": pipeline}))["results"]

    assert proxy.lose is None
    assert (result["accepted"], result["status"]) == (True, "QUEUED")
