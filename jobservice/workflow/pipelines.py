"""What users do to pipelines and stages: the calls of the SQL functions, with types.

For the client and for the doors, each with a connection of its own. `tenant` walls off: another tenant's pipeline is as
unknown as none; None is for who may act on all. The driver's errors are translated by whoever gave the connection.
"""

import json
from collections.abc import AsyncIterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal
from uuid import UUID

import asyncpg

from jobservice.domain.errors import (
    ErrorCode,
    InvalidSubmission,
    JobServiceError,
    NotLegal,
    UnknownPipeline,
    UnknownStage,
)
from jobservice.domain.pipelines import PipelineStatus, PipelineVerb, StageVerb
from jobservice.store.failures import refusal
from jobservice.store.sql import DEFAULT_SCHEMA, load

_FILE = Path(__file__).with_name("workflow.sql")


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkflowResult:
    """What became of one pipeline or stage: its status afterwards (None: unknown), and why it was refused."""

    id: UUID
    kind: Literal["pipeline", "stage"] = "pipeline"
    status: PipelineStatus | None
    accepted: bool
    code: ErrorCode | None = None
    reason: str | None = None

    def refusal(self, verb: str) -> JobServiceError | None:
        """The error that tells of the refusal; None where it was accepted."""
        if self.accepted:
            return None
        if self.code == "unknown_stage":
            return UnknownStage(self.id)
        if self.code == "unknown_pipeline" or self.status is None:
            return UnknownPipeline(self.id)
        return NotLegal(self.id, verb, self.status, self.reason, kind=self.kind)


class Pipelines:
    """The pipelines of one schema."""

    def __init__(self, *, schema: str = DEFAULT_SCHEMA) -> None:
        self._sql = load(_FILE, schema)

    async def submit(self, connection: asyncpg.Connection, pipeline: str) -> tuple[UUID, bool]:
        """Stores a pipeline (JSON) with its stages and jobs, all or nothing: its id, and whether it is new.

        Raises the driver's refusal, which whoever gave the connection translates: InvalidSubmission with the field.
        """
        row = await self._sql.submit_pipeline(connection, pipeline=pipeline)
        return row["pipeline_id"], row["created"]

    async def add_stages(
        self, connection: asyncpg.Connection, pipeline_id: UUID, stages: str, *, tenant: str | None = None
    ) -> list[UUID]:
        """Adds stages (JSON, one or an array) behind those it has; their ids.

        Raises UnknownPipeline, NotLegal, InvalidSubmission.
        """
        with _told(UnknownPipeline, pipeline_id, "add a stage to"):
            rows = self._sql.add_stages(connection, pipeline=pipeline_id, stages=stages, tenant=tenant)
            return [row["id"] async for row in rows]

    async def add_jobs(
        self, connection: asyncpg.Connection, stage_id: UUID, jobs: str, *, tenant: str | None = None
    ) -> list[tuple[UUID, bool]]:
        """Adds jobs (JSON, one or an array) to a stage; for each its id and whether it is new.

        Raises UnknownStage, NotLegal, InvalidSubmission.
        """
        with _told(UnknownStage, stage_id, "add jobs to"):
            rows = self._sql.add_jobs(connection, stage=stage_id, jobs=jobs, tenant=tenant)
            return [(row["job_id"], row["created"]) async for row in rows]

    async def command(
        self,
        connection: asyncpg.Connection,
        verb: PipelineVerb,
        ids: Sequence[UUID],
        *,
        argument: Any = None,
        tenant: str | None = None,
    ) -> list[WorkflowResult]:
        """Applies a verb to each; one result for each id, in the order given.

        `argument`: of `stop` the reason, of `set_priority` a number or name, of `update_metadata` the object to merge.
        """
        rows = self._sql.command_pipelines(
            connection, ids=list(ids), verb=verb.value, argument=_json(argument), tenant=tenant
        )
        return await _results(rows, "pipeline")

    async def jobs_of(self, connection: asyncpg.Connection, ids: Sequence[UUID], *, tenant: str | None = None) -> int:
        """How many jobs these pipelines have together."""
        return int(await self._sql.jobs_of(connection, pipelines=list(ids), tenant=tenant))

    async def command_stages(
        self,
        connection: asyncpg.Connection,
        verb: StageVerb,
        ids: Sequence[UUID],
        *,
        argument: Any = None,
        tenant: str | None = None,
    ) -> list[WorkflowResult]:
        """The same for stages. `argument`: of `update_metadata` the object, of `increment_metadata` {"key", "by"}."""
        rows = self._sql.command_stages(
            connection, ids=list(ids), verb=verb.value, argument=_json(argument), tenant=tenant
        )
        return await _results(rows, "stage")

    async def settle(self, connection: asyncpg.Connection, ids: Sequence[UUID]) -> bool:
        """Moves on at once what a verb has left to be moved, 1,000 jobs a call; whether some are left even now."""
        return bool(await self._sql.settle_also(connection, pipelines=list(ids)))


@contextmanager
def _told(unknown: type[UnknownPipeline] | type[UnknownStage], identity: UUID, verb: str) -> Iterator[None]:
    """The functions' own refusals as our errors; the driver's others pass."""
    try:
        yield
    except asyncpg.NoDataFoundError as error:
        raise unknown(identity) from error
    except asyncpg.InvalidParameterValueError as error:
        told = refusal(error)
        if isinstance(told, InvalidSubmission) and told.code == "not_legal":
            status = json.loads(error.detail or "{}")["status"]
            kind = "pipeline" if unknown is UnknownPipeline else "stage"
            # The status alone says it, unless the pipeline is about to get another one.
            detail = str(told).rpartition(": ")[2]
            raise NotLegal(identity, verb, status, detail if "ending" in detail else None, kind=kind) from error
        raise told from error


def _json(argument: Any) -> str | None:
    return None if argument is None else json.dumps(argument)


async def _results(rows: AsyncIterable[asyncpg.Record], kind: Literal["pipeline", "stage"]) -> list[WorkflowResult]:
    return [
        WorkflowResult(
            id=row["id"],
            kind=kind,
            status=None if row["status"] is None else PipelineStatus(row["status"]),
            accepted=row["accepted"],
            code=row["code"],
            reason=row["reason"],
        )
        async for row in rows
    ]
