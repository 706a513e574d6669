"""Reads jobs: one, many, how many, their runs, and why one is not running. Changes nothing.

Called by the client and the command line with a connection of their own. Rows become `JobInfo` in the client: this
floor does not know what a job's author or submitter sees.
"""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from uuid import UUID

import asyncpg

from jobservice.store.sql import DEFAULT_SCHEMA, load
from jobservice.store.waiting import reasons

_FILE = Path(__file__).with_suffix(".sql")
_JSON_COLUMNS = ("parameters", "user_metadata", "progress_info", "result")


@dataclass(frozen=True, slots=True, kw_only=True)
class JobFilter:
    """Which jobs; None asks for nothing. `parameters` is JSON text that a job's parameters must contain."""

    tenant: str | None = None
    statuses: Sequence[str] | None = None
    job_class: str | None = None
    owner: str | None = None
    queue: str | None = None
    parameters: str | None = None


class JobReader:
    """The questions about jobs, for one schema."""

    def __init__(self, schema: str = DEFAULT_SCHEMA) -> None:
        self._sql = load(_FILE, schema)

    async def get(self, connection: asyncpg.Connection, ids: Sequence[UUID]) -> list[dict[str, Any]]:
        """The jobs of these ids that exist, in that order, as columns with JSON decoded."""
        return [_decoded(row) async for row in self._sql.get_jobs(connection, ids=list(ids))]

    async def find(
        self, connection: asyncpg.Connection, wanted: JobFilter, *, after: UUID | None, limit: int
    ) -> list[dict[str, Any]]:
        """At most `limit` jobs that match, newest first, older than `after`."""
        values = asdict(wanted) | {"after": after, "limit": limit}
        if values.pop("tenant") is None:
            found = self._sql.find_job_ids(connection, **values)
        else:
            found = self._sql.find_job_ids_of_tenant(connection, tenant=wanted.tenant, **values)
        return await self.get(connection, [row["id"] async for row in found])

    async def count(self, connection: asyncpg.Connection, wanted: JobFilter) -> int:
        """How many jobs match."""
        return int(await self._sql.count_jobs(connection, **asdict(wanted)))

    async def status(self, connection: asyncpg.Connection, job_id: UUID) -> str | None:
        """The job's status, or None where there is no such job."""
        status: str | None = await self._sql.status_of(connection, job_id=job_id)
        return status

    async def runs(self, connection: asyncpg.Connection, job_id: UUID) -> list[dict[str, Any]]:
        """All runs of a job, the first one first."""
        return [dict(row) async for row in self._sql.runs_of(connection, job_id=job_id)]

    async def why_not_running(self, connection: asyncpg.Connection, job_id: UUID) -> list[str]:
        """The reasons for which a waiting job waits; empty for any other, or an unknown one."""
        facts = await self._sql.why_not_running(connection, job_id=job_id)
        return reasons(dict(facts), datetime.now(UTC)) if facts is not None else []


def _decoded(row: asyncpg.Record) -> dict[str, Any]:
    columns = dict(row)
    for name in _JSON_COLUMNS:
        columns[name] = json.loads(columns[name]) if columns[name] is not None else None
    return columns
