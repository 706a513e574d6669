"""Pipelines by plain SQL, and what holds of them whenever nobody is in the middle of a change."""

import json
import math
from collections.abc import Sequence
from typing import Any
from uuid import UUID

import asyncpg

from jobservice.domain.pipelines import PIPELINE_CHANGES, STAGE_CHANGES, PipelineStatus

CHANGES = {"pipeline": PIPELINE_CHANGES, "stage": STAGE_CHANGES}
ENDED = ("SUCCEEDED", "FAILED", "ABORTED")


def jobs(count: int, **fields: Any) -> list[dict[str, Any]]:
    return [{"job_class": "Nap", **fields} for _ in range(count)]


async def submit(connection: asyncpg.Connection, *stages: Any, **fields: Any) -> UUID:
    """A pipeline of these stages, each a number of jobs or what a submission says."""
    tree = {"name": "p", **fields, "stages": [{"jobs": jobs(s)} if isinstance(s, int) else s for s in stages]}
    found: UUID = await connection.fetchval(
        "SELECT pipeline_id FROM jobservice.submit_pipeline($1::text::jsonb)", json.dumps(tree)
    )
    return found


async def command(connection: asyncpg.Connection, verb: str, pipeline_id: UUID, argument: Any = None) -> asyncpg.Record:
    row: asyncpg.Record = await connection.fetchrow(
        "SELECT * FROM jobservice.command_pipelines(ARRAY[$1::uuid], $2, $3::text::jsonb)",
        pipeline_id, verb, None if argument is None else json.dumps(argument),
    )  # fmt: skip
    return row


async def command_stage(
    connection: asyncpg.Connection, verb: str, stage_id: UUID, argument: Any = None
) -> asyncpg.Record:
    row: asyncpg.Record = await connection.fetchrow(
        "SELECT * FROM jobservice.command_stages(ARRAY[$1::uuid], $2, $3::text::jsonb)",
        stage_id, verb, None if argument is None else json.dumps(argument),
    )  # fmt: skip
    return row


async def add_stages(connection: asyncpg.Connection, pipeline_id: UUID, stages: Any) -> list[UUID]:
    rows = await connection.fetch(
        "SELECT s FROM jobservice.add_stages($1, $2::text::jsonb) s", pipeline_id, json.dumps(stages)
    )
    return [row["s"] for row in rows]


async def add_jobs(connection: asyncpg.Connection, stage_id: UUID, new: Sequence[Any]) -> list[UUID]:
    rows = await connection.fetch(
        "SELECT job_id FROM jobservice.add_jobs($1, $2::text::jsonb)", stage_id, json.dumps(new)
    )
    return [row["job_id"] for row in rows]


async def pipeline(connection: asyncpg.Connection, pipeline_id: UUID) -> asyncpg.Record:
    return await connection.fetchrow("SELECT * FROM jobservice.pipeline WHERE id = $1", pipeline_id)


async def stages(connection: asyncpg.Connection, pipeline_id: UUID) -> list[asyncpg.Record]:
    rows: list[asyncpg.Record] = await connection.fetch(
        "SELECT * FROM jobservice.stage WHERE pipeline_id = $1 ORDER BY position", pipeline_id
    )
    return rows


async def standing(connection: asyncpg.Connection, pipeline_id: UUID) -> tuple[str, list[str]]:
    """The statuses of a pipeline and of its stages."""
    found = await stages(connection, pipeline_id)
    return (await pipeline(connection, pipeline_id))["status"], [stage["status"] for stage in found]


async def job_statuses(connection: asyncpg.Connection, stage_id: UUID) -> list[str]:
    rows = await connection.fetch(
        "SELECT status FROM jobservice.job_info WHERE stage_id = $1 ORDER BY number", stage_id
    )
    return [row["status"] for row in rows]


async def check_books(connection: asyncpg.Connection) -> None:
    """All that must hold of every pipeline between two transactions."""
    rows = await connection.fetch(
        """SELECT s.*, count(j.*) AS jobs, count(*) FILTER (WHERE j.status = 'SUCCEEDED') AS well,
                  count(*) FILTER (WHERE j.status = 'FAILED') AS badly,
                  count(*) FILTER (WHERE j.status = 'ABORTED') AS not_at_all,
                  count(*) FILTER (WHERE j.status = 'PENDING' AND j.held = 'stage') AS held,
                  count(*) FILTER (WHERE j.status IN ('QUEUED', 'TO_BE_RUN', 'RUNNING')) AS let_in
           FROM jobservice.stage s LEFT JOIN jobservice.job_info j ON j.stage_id = s.id
           GROUP BY s.id ORDER BY s.pipeline_id, s.position"""
    )
    trees: dict[UUID, list[asyncpg.Record]] = {}
    for row in rows:
        trees.setdefault(row["pipeline_id"], []).append(row)
    for row in await connection.fetch("SELECT * FROM jobservice.pipeline"):
        check_tree(row, trees.get(row["id"], []))
    await check_facts(connection)


def check_tree(p: asyncpg.Record, tree: Sequence[asyncpg.Record]) -> None:
    assert [s["position"] for s in tree] == list(range(1, len(tree) + 1))
    for s in tree:
        counted = (s["jobs"], s["well"], s["badly"], s["not_at_all"])
        assert counted == (s["total"], s["succeeded"], s["failed"], s["aborted"]), "counters are the rows"
        assert s["status"] not in ENDED or s["jobs"] == s["well"] + s["badly"] + s["not_at_all"]
        if s["status"] == "PENDING":
            assert s["let_in"] == 0, "no job before its stage is open"
        elif p["ending"] is None and s["status"] not in ENDED:
            assert s["held"] == 0 or p["unsettled"] or p["paused"], "no job is forgotten in an open stage"
        before = [b["status"] for b in tree if b["position"] < s["position"]]
        assert s["open_date"] is None or set(before) <= {"SUCCEEDED"}, "one after the other"
    statuses = [s["status"] for s in tree]
    assert len([s for s in statuses if s in ("QUEUED", "RUNNING")]) <= 1
    if p["status"] in ENDED:
        assert set(statuses) <= set(ENDED), "a pipeline is final only when its stages are"
        assert p["status"] != "SUCCEEDED" or set(statuses) <= {"SUCCEEDED"}
        assert (p["unsettled"], p["ending"]) == (False, None)
    else:
        waits = p["status"] == "PENDING" or p["open"] or p["paused"]
        assert waits or not set(statuses) <= set(ENDED), "all has ended, but not the pipeline"
    if p["status"] == "PENDING":
        assert p["ending"] is not None or set(statuses) <= {"PENDING"}
    if p["status"] == "SUCCEEDED":
        assert p["percent_completed"] == 100
    elif tree:
        assert p["percent_completed"] == math.floor(sum(s["percent_completed"] for s in tree) / len(tree))


async def check_facts(connection: asyncpg.Connection) -> None:
    """Of each pipeline and stage every change was told, once, in order, each with what was there before."""
    last: dict[str, tuple[int, str]] = {}
    for row in await connection.fetch("SELECT facts FROM jobservice.pipeline_outbox ORDER BY id"):
        for fact in json.loads(row["facts"]):
            subject = fact["stage_id"] if fact["kind"] == "stage" else fact["pipeline_id"]
            sequence, status = last.get(subject, (1, "PENDING"))
            assert (fact["sequence"], fact["previous_status"]) == (sequence + 1, status), fact
            assert fact["status"] in CHANGES[fact["kind"]][PipelineStatus(status)], fact
            last[subject] = (fact["sequence"], fact["status"])
    for table in ("pipeline", "stage"):
        for row in await connection.fetch(f"SELECT id, sequence, status FROM jobservice.{table}"):
            assert last.get(str(row["id"]), (1, "PENDING")) == (row["sequence"], row["status"])
