"""Reads pipelines and stages: one, many, how many, the jobs of a stage, what is left to be moved. Changes nothing.

Called by the client and the doors with a connection of their own. Rows become `PipelineInfo` and `StageInfo` in the
client, as those of jobs do.
"""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any
from uuid import UUID

import asyncpg

from jobservice.store.sql import DEFAULT_SCHEMA, load

_FILE = Path(__file__).with_suffix(".sql")
_JSON_COLUMNS = ("data", "user_metadata")


@dataclass(frozen=True, slots=True, kw_only=True)
class PipelineFilter:
    """Which pipelines; None asks for nothing."""

    tenant: str | None = None
    name: str | None = None
    statuses: Sequence[str] | None = None
    owner: str | None = None


class PipelineReader:
    """The questions about pipelines, for one schema."""

    def __init__(self, schema: str = DEFAULT_SCHEMA) -> None:
        self._sql = load(_FILE, schema)

    async def get(self, connection: asyncpg.Connection, ids: Sequence[UUID]) -> list[dict[str, Any]]:
        """The pipelines of these ids that exist, in that order, without their stages; JSON decoded."""
        return [_decoded(row) async for row in self._sql.get_pipelines(connection, ids=list(ids))]

    async def stages(
        self,
        connection: asyncpg.Connection,
        *,
        pipelines: Sequence[UUID] = (),
        stages: Sequence[UUID] = (),
        counted: bool = False,
    ) -> list[dict[str, Any]]:
        """All stages of these pipelines, and these stages, by pipeline and position.

        `counted`: with the numbers of waiting and running jobs, which otherwise are None.
        """
        rows = self._sql.get_stages(connection, pipelines=list(pipelines), stages=list(stages), counted=counted)
        return [_decoded(row) async for row in rows]

    async def stage_ids(self, connection: asyncpg.Connection, pipeline_id: UUID) -> list[UUID]:
        """The stages of a pipeline, in their order."""
        return [row["id"] async for row in self._sql.stage_ids_of(connection, pipeline=pipeline_id)]

    async def positions(self, connection: asyncpg.Connection, stages: Sequence[UUID]) -> list[int]:
        """Where these stages stand in their pipelines."""
        return [row["position"] async for row in self._sql.positions_of(connection, stages=list(stages))]

    async def find(
        self, connection: asyncpg.Connection, wanted: PipelineFilter, *, after: UUID | None, limit: int
    ) -> list[dict[str, Any]]:
        """At most `limit` pipelines that match, newest first, older than `after`; without their stages."""
        values = asdict(wanted) | {"after": after, "limit": limit}
        if values.pop("tenant") is None:
            found = self._sql.find_pipeline_ids(connection, **values)
        else:
            found = self._sql.find_pipeline_ids_of_tenant(connection, tenant=wanted.tenant, **values)
        return await self.get(connection, [row["id"] async for row in found])

    async def count(self, connection: asyncpg.Connection, wanted: PipelineFilter) -> int:
        """How many pipelines match."""
        return int(await self._sql.count_pipelines(connection, **asdict(wanted)))

    async def status(self, connection: asyncpg.Connection, pipeline_id: UUID) -> str | None:
        """The pipeline's status, or None where there is no such pipeline."""
        status: str | None = await self._sql.status_of_pipeline(connection, pipeline=pipeline_id)
        return status

    async def job_ids(
        self,
        connection: asyncpg.Connection,
        stage_id: UUID,
        statuses: Sequence[str],
        *,
        after: UUID | None,
        limit: int,
    ) -> list[UUID]:
        """At most `limit` jobs of a stage in these statuses, in the order of their submission, behind `after`."""
        rows = self._sql.job_ids_of_stage(connection, stage=stage_id, statuses=list(statuses), after=after, limit=limit)
        return [row["id"] async for row in rows]

    async def unsettled(
        self, connection: asyncpg.Connection, *, pipelines: Sequence[UUID] = (), stages: Sequence[UUID] = ()
    ) -> dict[UUID, int]:
        """Of these pipelines, and those of these stages, the ones with jobs left to be moved → their jobs in all."""
        rows = self._sql.unsettled_of(connection, pipelines=list(pipelines), stages=list(stages))
        return {row["id"]: row["jobs"] async for row in rows}


def _decoded(row: asyncpg.Record) -> dict[str, Any]:
    columns = dict(row)
    for name in _JSON_COLUMNS:
        columns[name] = json.loads(columns[name])
    return columns
