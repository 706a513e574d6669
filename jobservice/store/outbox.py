"""Reads the outbox back into facts, and deletes what is published. Writing into it is the lifecycle's."""

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from uuid import UUID

import asyncpg

from jobservice.domain.facts import Fact, JobCard
from jobservice.domain.states import LIVE, JobStatus
from jobservice.store.cards import card_of
from jobservice.store.sql import load

_FILE = Path(__file__).with_name("outbox.sql")


@dataclass(frozen=True, slots=True)
class OutboxRow:
    """One row: the facts of one transaction, or why it cannot be read."""

    id: int
    facts: tuple[Fact, ...]
    problem: str | None = None


@dataclass(frozen=True, slots=True)
class StoredCard:
    """What the job's row gives to its events. `result` is JSON text; empty: there is one, too large for any event."""

    card: JobCard
    result: str | None


class Outbox:
    """The outbox of one schema. The caller brings the connection."""

    def __init__(self, *, schema: str) -> None:
        self._schema = schema
        self._sql = load(_FILE, schema)

    async def own(self, connection: asyncpg.Connection, daemon_id: UUID, *, limit: int) -> list[OutboxRow]:
        """A daemon's rows, oldest first."""
        return [_decoded(row) async for row in self._sql.own(connection, daemon=daemon_id, batch=limit)]

    async def ownerless(self, connection: asyncpg.Connection, *, limit: int) -> list[OutboxRow]:
        """Rows that no living daemon publishes by itself, oldest first."""
        return [_decoded(row) async for row in self._sql.ownerless(connection, batch=limit)]

    async def earlier(self, connection: asyncpg.Connection, *, before: int, jobs: Iterable[UUID]) -> list[Fact]:
        """Facts of these jobs in rows with a smaller id, in order."""
        wanted = set(jobs)
        facts: list[Fact] = []
        async for row in self._sql.earlier(connection, before=before, jobs=list(wanted)):
            facts.extend(fact for fact in _decoded(row).facts if fact.job_id in wanted)
        return facts

    async def own_ids(self, connection: asyncpg.Connection, daemon_id: UUID) -> list[int]:
        """The ids of a daemon's rows."""
        return [row["id"] async for row in self._sql.own_ids(connection, daemon=daemon_id)]

    async def cards(self, connection: asyncpg.Connection, jobs: Iterable[UUID]) -> dict[UUID, StoredCard]:
        """The cards of these jobs; a job that is gone is missing."""
        return {row["id"]: _stored(row) async for row in self._sql.cards(connection, jobs=list(jobs))}

    async def delete(self, connection: asyncpg.Connection, ids: Sequence[int]) -> None:
        """Published and confirmed."""
        await self._sql.delete(connection, ids=list(ids))

    async def set_aside(self, connection: asyncpg.Connection, row_id: int, reason: str) -> None:
        """Moves a row that cannot be decoded out of the way."""
        await self._sql.set_aside(connection, id=row_id, reason=reason)

    async def try_sweep_lock(self, connection: asyncpg.Connection) -> bool:
        """Whether this session is now the only sweeper."""
        return bool(await self._sql.try_sweep_lock(connection, name=self._schema))

    async def release_sweep_lock(self, connection: asyncpg.Connection) -> None:
        """Lets others sweep."""
        await self._sql.release_sweep_lock(connection, name=self._schema)


def _decoded(row: asyncpg.Record) -> OutboxRow:
    try:
        return OutboxRow(row["id"], tuple(_facts(row)))
    except (ValueError, TypeError, AttributeError) as error:
        return OutboxRow(row["id"], (), problem=f"{type(error).__name__}: {error}")


def _facts(row: asyncpg.Record) -> Iterable[Fact]:
    columns = zip(
        row["job_ids"],
        row["sequences"],
        row["runs"],
        row["attempts"],
        row["statuses"],
        row["previous"],
        row["times"],
        row["priorities"],
        row["percents"],
        row["details"],
        strict=True,
    )
    for job_id, sequence, run, attempt, status, previous, time, priority, percent, detail in columns:
        known = JobStatus(status)
        details = json.loads(detail) if detail is not None else {}
        by_daemon = known in LIVE or known.final
        yield Fact(
            job_id=job_id,
            sequence=sequence,
            run=run,
            attempt=attempt,
            status=known,
            previous_status=JobStatus(previous) if previous is not None else None,
            time=time,
            priority=priority,
            percent_completed=percent,
            daemon_id=row["daemon_id"] if by_daemon else None,
            will_retry=bool(details.get("will_retry", False)),
            error=details.get("error"),
        )


def _stored(row: asyncpg.Record) -> StoredCard:
    return StoredCard(card_of(row, queue=row["queue"]), row["result"])
