"""Owns what the database says when all is quiet: the rows that the checks compare with what was seen and told."""

import re
from collections import defaultdict
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import asyncpg

QUERIES: dict[str, str] = {
    name: text.strip()
    for name, text in re.findall(
        r"^-- name: (\w+)\n(.*?)(?=^-- name|\Z)",
        Path(__file__).with_name("findings.sql").read_text(),
        re.MULTILINE | re.DOTALL,
    )
}


@dataclass(frozen=True)
class Findings:
    """Rows by job id, which is a text here as it is in events."""

    jobs: dict[str, Any]
    runs: dict[str, list[Any]]
    """The history of each job: runs that did not end it."""
    keys: dict[str, str]
    effects: dict[str, Any]
    executed_twice: list[Any]
    daemons: dict[str, Any]
    counts: Any
    pipelines: dict[str, Any] = field(default_factory=dict)
    stages: list[Any] = field(default_factory=list)


async def find(connection: asyncpg.Connection) -> Findings:
    """All of it, in one transaction."""
    async with connection.transaction(isolation="repeatable_read", readonly=True):
        rows = {name: await connection.fetch(query) for name, query in QUERIES.items()}
    runs: defaultdict[str, list[Any]] = defaultdict(list)
    for row in rows["runs"]:
        runs[row["job_id"]].append(row)
    return Findings(
        jobs={row["id"]: row for row in rows["jobs"]},
        runs=dict(runs),
        keys={row["key"]: row["job_id"] for row in rows["keys"]},
        effects={row["job_id"]: row for row in rows["effects"]},
        executed_twice=rows["executed_twice"],
        daemons={row["id"]: row for row in rows["daemons"]},
        counts=rows["counts"][0],
        pipelines={row["id"]: row for row in rows["pipelines"]},
        stages=rows["stages"],
    )
