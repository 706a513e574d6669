"""Reads instances of jobs with steps, how far their steps are, and the runs of those. Changes nothing."""

import json
from pathlib import Path
from typing import Any
from uuid import UUID

import asyncpg

from jobservice.store.sql import DEFAULT_SCHEMA, load

_FILE = Path(__file__).with_suffix(".sql")
_JSON_COLUMNS = frozenset({"parameters", "context", "low", "high", "position"})


class StepReader:
    """The questions about steps, for one schema."""

    def __init__(self, schema: str = DEFAULT_SCHEMA) -> None:
        self._sql = load(_FILE, schema)

    async def instance_of(self, connection: asyncpg.Connection, job_id: UUID) -> dict[str, Any] | None:
        """The instance that a job executes, as columns with JSON decoded; None for a job without steps."""
        row = await self._sql.instance_of(connection, job=job_id)
        return None if row is None else _decoded(row)

    async def instance(self, connection: asyncpg.Connection, instance_id: UUID) -> dict[str, Any] | None:
        """One instance, or None."""
        row = await self._sql.instance(connection, id=instance_id)
        return None if row is None else _decoded(row)

    async def steps(self, connection: asyncpg.Connection, instance_id: UUID) -> list[dict[str, Any]]:
        """Its steps in the order in which they were begun, each with its parts behind it."""
        return [_decoded(row) async for row in self._sql.steps(connection, instance=instance_id)]

    async def runs(self, connection: asyncpg.Connection, instance_id: UUID) -> list[dict[str, Any]]:
        """All runs of its steps, the first one first."""
        return [_decoded(row) async for row in self._sql.runs(connection, instance=instance_id)]


def _decoded(row: asyncpg.Record) -> dict[str, Any]:
    return {
        name: json.loads(value) if name in _JSON_COLUMNS and value is not None else value for name, value in row.items()
    }
