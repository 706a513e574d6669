"""Reads `pipeline_outbox` back into facts, and deletes what is published. Only the SQL functions write into it."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any
from uuid import UUID

import asyncpg

from jobservice.domain.class_facts import CLASS_KIND, CLASS_STATUSES, ClassFact
from jobservice.domain.names import is_name
from jobservice.domain.pipeline_facts import PIPELINE_KINDS, PipelineFact, StageTold
from jobservice.domain.pipelines import PipelineStatus
from jobservice.store.sql import load

_FILE = Path(__file__).with_name("pipeline_outbox.sql")


@dataclass(frozen=True, slots=True)
class PipelineRow:
    """One row: the facts of one transaction, or why it cannot be read."""

    id: int
    facts: tuple[PipelineFact | ClassFact, ...]
    problem: str | None = None


class PipelineOutbox:
    """The outbox of the pipelines of one schema. The caller brings the connection."""

    def __init__(self, *, schema: str) -> None:
        self._schema = schema
        self._sql = load(_FILE, schema)

    async def oldest(self, connection: asyncpg.Connection, *, limit: int) -> list[PipelineRow]:
        """The first rows, by id."""
        return [_decoded(row) async for row in self._sql.oldest(connection, batch=limit)]

    async def delete(self, connection: asyncpg.Connection, ids: Sequence[int]) -> None:
        """Published and confirmed."""
        await self._sql.delete(connection, ids=list(ids))

    async def set_aside(self, connection: asyncpg.Connection, row_id: int, reason: str) -> None:
        """Moves a row that cannot be decoded out of the way."""
        await self._sql.set_aside(connection, id=row_id, reason=reason)

    async def try_lock(self, connection: asyncpg.Connection) -> bool:
        """Whether this session is now the only sweeper."""
        return bool(await self._sql.try_lock(connection, name=self._schema))

    async def unlock(self, connection: asyncpg.Connection) -> None:
        """Lets others sweep."""
        await self._sql.unlock(connection, name=self._schema)


def _decoded(row: asyncpg.Record) -> PipelineRow:
    try:
        facts = json.loads(row["facts"])
        if not isinstance(facts, list):
            raise TypeError("facts must be an array")
        return PipelineRow(row["id"], tuple(_of_any_kind(told, row["id"]) for told in facts))
    except (KeyError, ValueError, TypeError, AttributeError) as error:
        return PipelineRow(row["id"], (), problem=f"{type(error).__name__}: {error}")


def _of_any_kind(told: dict[str, Any], row_id: int) -> PipelineFact | ClassFact:
    return _of_class(told, row_id) if told["kind"] == CLASS_KIND else _fact(told)


def _of_class(told: dict[str, Any], row_id: int) -> ClassFact:
    """Each is alone in its row, and the ids of the rows follow the changes of a class."""
    if not (is_name(told["job_class"]) or told["job_class"] == "*"):
        raise ValueError("job_class must be a word of a routing key")
    if told["status"] not in CLASS_STATUSES:
        raise ValueError(f"{told['status']!r} is no status of a class")
    return ClassFact(
        job_class=told["job_class"],
        status=told["status"],
        reason=told["reason"],
        time=datetime.fromisoformat(told["time"]),
        sequence=row_id,
    )


def _fact(told: dict[str, Any]) -> PipelineFact:
    if told["kind"] not in PIPELINE_KINDS:
        raise ValueError(f"{told['kind']!r} is no kind of fact")
    if not (is_name(told["tenant"]) and is_name(told["name"])):
        raise ValueError("tenant and name must be words of a routing key")
    return PipelineFact(
        pipeline_id=UUID(told["pipeline_id"]),
        stage=_stage(told) if told["kind"] == "stage" else None,
        tenant=told["tenant"],
        name=told["name"],
        status=PipelineStatus(told["status"]),
        previous_status=PipelineStatus(told["previous_status"]),
        sequence=int(told["sequence"]),
        time=datetime.fromisoformat(told["time"]),
        percent_completed=int(told["percent_completed"]),
        reason=told["reason"],
        owner=told["owner"],
        description=told["description"],
        correlation_id=told["correlation_id"],
        traceparent=told["traceparent"],
    )


def _stage(told: dict[str, Any]) -> StageTold:
    return StageTold(
        stage_id=UUID(told["stage_id"]),
        stage_name=told["stage_name"],
        position=int(told["position"]),
        job_class=told["job_class"],
        **{name: int(told[name]) for name in ("total", "succeeded", "failed", "aborted", "retried")},
    )
