"""Every status by every verb, with and without each mark: what the table allows is accepted, and nothing else."""

import json
from itertools import product
from typing import Any
from uuid import UUID

import asyncpg
import pytest
from crew import NO, Crew
from pipe_books import add_jobs, check_books, command, command_stage, jobs, pipeline, stages, standing, submit

from jobservice.domain.outcomes import Aborted
from jobservice.domain.pipelines import (
    ENDED,
    PIPELINE_CHANGES,
    PIPELINE_VERBS,
    STAGE_CHANGES,
    STAGE_VERBS,
    PipelineStatus,
    PipelineVerb,
    StageVerb,
)

PENDING, QUEUED, RUNNING = PipelineStatus.PENDING, PipelineStatus.QUEUED, PipelineStatus.RUNNING
SUCCEEDED, FAILED, ABORTED = PipelineStatus.SUCCEEDED, PipelineStatus.FAILED, PipelineStatus.ABORTED
ARGUMENTS: dict[str, Any] = {
    "stop": "enough", "set_priority": 7, "update_metadata": {"a": 1}, "increment_metadata": {"key": "n", "by": 2},
}  # fmt: skip
MARKS = ("", "open", "paused", "ending")
NOT_WHILE_ENDING = {PipelineVerb.START, PipelineVerb.PAUSE, PipelineVerb.RESUME}
SCENES = [
    (status, mark)
    for status, mark in product(PipelineStatus, MARKS)
    if not (mark == "ending" and status in ENDED | {QUEUED}) and not (mark == "paused" and status in ENDED | {PENDING})
    and not (mark == "open" and status in (SUCCEEDED, FAILED))
]  # fmt: skip


async def given_pipeline(crew: Crew, status: PipelineStatus, mark: str) -> UUID:
    """One of two stages, brought into this status by what users and daemons do."""
    connection = crew.connection
    p = await submit(connection, 2, 1, open=mark == "open", status="PENDING" if status is PENDING else "QUEUED")
    if status in (RUNNING, FAILED) or mark == "ending":
        await crew.start(runs := await crew.claim())
    if status is FAILED:
        await crew.end(runs, NO)
    elif status is ABORTED:
        await command(connection, "stop", p, "no more")
    elif status is SUCCEEDED:
        await crew.work_all()
    if mark == "paused":
        await command(connection, "pause", p)
    if mark == "ending":
        if status is PENDING:  # as long as somebody holds a job of it
            await connection.execute("UPDATE jobservice.pipeline SET ending = 'ABORTED', unsettled = true")
        else:
            await command(connection, "stop", p, "no more")
    row = await pipeline(connection, p)
    assert row["status"] == status
    assert (row["open"], row["paused"], row["ending"] is not None) == tuple(mark == m for m in MARKS[1:])
    return p


def is_legal(status: PipelineStatus, mark: str, verb: PipelineVerb) -> bool:
    if verb is PipelineVerb.SEAL and mark != "open":
        return False
    return status in PIPELINE_VERBS[verb] and not (mark == "ending" and verb in NOT_WHILE_ENDING)


@pytest.mark.parametrize("verb", PipelineVerb)
@pytest.mark.parametrize(("status", "mark"), SCENES)
async def test_a_verb_is_accepted_where_the_table_says_so_and_else_changes_nothing(
    crew: Crew, connection: asyncpg.Connection, status: PipelineStatus, mark: str, verb: PipelineVerb
) -> None:
    p = await given_pipeline(crew, status, mark)
    before = [await pipeline(connection, p), await stages(connection, p), await all_jobs(connection)]
    await connection.execute("DELETE FROM jobservice.outbox")

    answer = await command(connection, verb, p, ARGUMENTS.get(verb))

    legal = is_legal(status, mark, verb)
    assert answer["accepted"] is legal
    if legal:
        check_done(verb, await pipeline(connection, p), answer)
    else:
        assert (answer["status"], answer["code"]) == (status, "not_legal")
        assert [await pipeline(connection, p), await stages(connection, p), await all_jobs(connection)] == before
    if not (mark == "ending" and status is PENDING):
        await check_books(connection)


def check_done(verb: PipelineVerb, row: asyncpg.Record | None, answer: asyncpg.Record) -> None:
    if verb is PipelineVerb.DELETE:
        assert row is None
        return
    assert row is not None
    assert answer["status"] == row["status"]
    match verb:
        case PipelineVerb.START | PipelineVerb.RESTART:
            assert row["status"] == QUEUED
        case PipelineVerb.PAUSE | PipelineVerb.RESUME:
            assert row["paused"] is (verb is PipelineVerb.PAUSE)
        case PipelineVerb.STOP:
            assert row["status"] == ABORTED or row["ending"] == ABORTED
        case PipelineVerb.SEAL:
            assert not row["open"]
        case PipelineVerb.SET_PRIORITY:
            assert row["priority"] == 7
        case PipelineVerb.UPDATE_METADATA:
            assert row["user_metadata"] == '{"a": 1}'


async def all_jobs(connection: asyncpg.Connection) -> list[asyncpg.Record]:
    rows: list[asyncpg.Record] = await connection.fetch("SELECT * FROM jobservice.job_info ORDER BY id")
    return rows


async def test_each_change_of_the_tables_happens_and_no_other(crew: Crew, connection: asyncpg.Connection) -> None:
    advance, empty = await submit(connection, 1, status="PENDING"), await submit(connection, {}, status="PENDING")
    for p in (advance, empty):
        await command(connection, "start", p)
    await crew.work()

    failing = await submit(connection, 1, 1)
    await crew.work(outcome=NO)
    await command(connection, "restart", failing)
    await command(connection, "stop", failing)

    unwanted = await submit(connection, 1, status="PENDING")
    await command(connection, "stop", unwanted)
    await command(connection, "restart", unwanted)
    await connection.execute("UPDATE jobservice.job_info SET expiration_date = now() WHERE status = 'QUEUED'")
    await crew.go_on()

    stopped = await submit(connection, 3)
    await crew.start(runs := await crew.claim())
    await connection.execute("UPDATE jobservice.stage SET told_at = now() - interval '2 seconds'")
    await crew.end(runs[:1])
    await command(connection, "stop", stopped)
    await crew.end(runs[1:], Aborted("stopped"))

    told = await connection.fetch(
        """SELECT DISTINCT f ->> 'kind' AS kind, f ->> 'previous_status' AS before, f ->> 'status' AS after
           FROM jobservice.pipeline_outbox o, jsonb_array_elements(o.facts) f"""
    )
    tables = {"pipeline": PIPELINE_CHANGES, "stage": STAGE_CHANGES}
    legal = {(kind, before, after) for kind, table in tables.items() for before in table for after in table[before]}
    assert {(row["kind"], row["before"], row["after"]) for row in told} == legal
    await check_books(connection)


STAGE_SCENES = list(product(PipelineStatus, ("", "open", "hold")))


async def given_stage(crew: Crew, status: PipelineStatus, mark: str) -> UUID:
    connection = crew.connection
    held = mark == "hold" and status in (PENDING, ABORTED)
    p = await submit(
        connection,
        {"jobs": jobs(2), "open": mark == "open", "hold": held},
        status="PENDING" if status is PENDING and not held else "QUEUED",
    )
    (stage,) = await stages(connection, p)
    if status in (RUNNING, FAILED, SUCCEEDED):
        await crew.start(runs := await crew.claim())
    if status in (FAILED, SUCCEEDED):
        await crew.end(runs, NO if status is FAILED else None)
        await command_stage(connection, "seal", stage["id"])
    if status is ABORTED:
        await command(connection, "stop", p)
    (stage,) = await stages(connection, p)
    assert stage["status"] == status
    stage_id: UUID = stage["id"]
    return stage_id


@pytest.mark.parametrize("verb", StageVerb)
@pytest.mark.parametrize(("status", "mark"), STAGE_SCENES)
async def test_a_verb_on_a_stage_is_accepted_where_the_table_says_so_and_else_changes_nothing(
    crew: Crew, connection: asyncpg.Connection, status: PipelineStatus, mark: str, verb: StageVerb
) -> None:
    stage_id = await given_stage(crew, status, mark)
    read = "SELECT * FROM jobservice.stage WHERE id = $1"
    before = await connection.fetchrow(read, stage_id)

    answer = await command_stage(connection, verb, stage_id, ARGUMENTS.get(verb))

    after = await connection.fetchrow(read, stage_id)
    legal = status in STAGE_VERBS[verb] and (verb is not StageVerb.SEAL or before["open"])
    assert answer["accepted"] is legal
    if not legal:
        assert (answer["status"], answer["code"]) == (status, "not_legal")
        assert after == before
    elif verb is StageVerb.RELEASE:
        assert not after["hold"]
        assert before["hold"] is (after["status"] != before["status"]), "released, it opens"
    elif verb is StageVerb.SEAL:
        assert not after["open"]
    else:
        assert after["user_metadata"] == ('{"a": 1}' if verb is StageVerb.UPDATE_METADATA else '{"n": 2}')
    await check_books(connection)


@pytest.mark.parametrize("verb", [*PipelineVerb])
async def test_of_another_tenant_or_of_none_a_pipeline_is_unknown(
    connection: asyncpg.Connection, verb: PipelineVerb
) -> None:
    p = await submit(connection, 1, tenant="acme")
    before = [await pipeline(connection, p), await stages(connection, p), await all_jobs(connection)]

    row = await connection.fetchrow(
        "SELECT * FROM jobservice.command_pipelines(ARRAY[$1::uuid], $2, $3::text::jsonb, 'bolt')",
        p, verb.value, '{}' if verb is PipelineVerb.UPDATE_METADATA else "7",
    )  # fmt: skip

    assert (row["accepted"], row["status"], row["code"]) == (False, None, "unknown_pipeline")
    assert [await pipeline(connection, p), await stages(connection, p), await all_jobs(connection)] == before


NO_ARGUMENTS = [
    ("command_pipelines", None, None, "verb"),
    ("command_pipelines", "release", None, "verb"),
    ("command_pipelines", "set_priority", None, "priority"),
    ("command_pipelines", "set_priority", "null", "priority"),
    ("command_pipelines", "set_priority", "[]", "priority"),
    ("command_pipelines", "update_metadata", None, "user_metadata"),
    ("command_pipelines", "update_metadata", "null", "user_metadata"),
    ("command_pipelines", "update_metadata", "[]", "user_metadata"),
    ("command_stages", None, None, "verb"),
    ("command_stages", "start", None, "verb"),
    ("command_stages", "update_metadata", "null", "user_metadata"),
    ("command_stages", "increment_metadata", "null", None),
    ("command_stages", "increment_metadata", '{"key": "n"}', None),
    ("command_stages", "increment_metadata", '{"key": "n", "by": 1e400}', "user_metadata"),
]


@pytest.mark.parametrize(("function", "verb", "argument", "field"), NO_ARGUMENTS)
async def test_what_is_no_verb_or_no_argument_of_one_is_refused_with_the_field(
    connection: asyncpg.Connection, function: str, verb: str | None, argument: str | None, field: str | None
) -> None:
    p = await submit(connection, 1)
    (stage,) = await stages(connection, p)
    before = [await pipeline(connection, p), stage]
    target = p if function == "command_pipelines" else stage["id"]

    with pytest.raises(asyncpg.InvalidParameterValueError) as refused:
        await connection.execute(
            f"SELECT jobservice.{function}(ARRAY[$1::uuid], $2, $3::text::jsonb)", target, verb, argument
        )

    told = json.loads(refused.value.detail)
    assert (told["code"], told["field"]) == ("bad_field", field)
    assert [await pipeline(connection, p), *await stages(connection, p)] == before


async def test_jobs_for_a_stage_that_has_succeeded_are_refused_with_its_status_and_not_with_that_of_its_pipeline(
    crew: Crew, connection: asyncpg.Connection
) -> None:
    p = await submit(connection, 1, 1)
    await crew.work()
    await crew.work(outcome=NO)
    assert await standing(connection, p) == ("FAILED", ["SUCCEEDED", "FAILED"])
    first, _ = await stages(connection, p)

    with pytest.raises(asyncpg.InvalidParameterValueError) as refused:
        await add_jobs(connection, first["id"], jobs(1))

    assert json.loads(refused.value.detail or "")["status"] == "SUCCEEDED"
