"""The transaction of one flush: the rows of runs, and what follows from their ends in pipelines, stages and parts.

The status writer calls it with what has gathered. It never splits, repeats or tells anybody.
"""

import time
from collections.abc import Sequence
from pathlib import Path
from uuid import UUID

import asyncpg

from jobservice.domain.outcomes import Parked, Succeeded
from jobservice.domain.states import JobStatus
from jobservice.lifecycle.flush import FlushColumns, FlushItem, RunKey, columns_of
from jobservice.lifecycle.following import Follower, StageChange, changes_of_run, joined
from jobservice.store.session import Session
from jobservice.store.sql import load

_FLUSH = Path(__file__).with_name("flush.sql")
_SUBMISSION = Path(__file__).with_name("submission.sql")

WAITS_AGAIN_AFTER = 5.0
"""Seconds for which a pipeline that somebody held is only looked at, before it is waited for again; and so is a key."""
PATIENCE = "1s"
"""How long a next job waits for somebody who submits under its idempotency key and has not committed."""


class KeyTaken(Exception):
    """Somebody submits just now under a key that one of these runs wants to submit under, too, or holds its parts."""


class Flushing:
    """One daemon's flushes. Remembers which pipelines somebody held, so that the others need not wait for them."""

    def __init__(self, *, session: Session, daemon_id: UUID, schema: str, follower: Follower) -> None:
        self._session = session
        self._daemon_id = daemon_id
        self._sql = load(_FLUSH, schema)
        self._submission = load(_SUBMISSION, schema)
        self._follower = follower
        self._held_stages: set[UUID] = set()
        """Stages whose pipeline somebody held when this last waited for it."""
        self._waits_again_at = 0.0
        self._submits_again_at: dict[RunKey, float] = {}
        """Runs that met somebody else's key when they were alone, and when they are tried again."""

    async def write(self, items: Sequence[FlushItem], confirmed: list[int]) -> list[asyncpg.Record]:
        """Gives a row for each run that was written; deletes the outbox rows that are `confirmed` along.

        Raises KeyTaken, and what the database refuses the whole for.
        """
        async with self._session.use() as connection:
            if not any(item.has_followers for item in items):
                return await self._send(connection, items, confirmed)
            return await self._transaction(connection, items, confirmed)

    async def standing(self, items: Sequence[FlushItem]) -> dict[UUID, asyncpg.Record]:
        """How the jobs stand, by id: those that still have a row."""
        async with self._session.use() as connection:
            ids = [item.job_id for item in items]
            return {row["id"]: row async for row in self._sql.standing(connection, ids=ids)}

    async def without_held(self, items: list[FlushItem]) -> tuple[list[FlushItem], list[FlushItem]]:
        """Parts those that somebody still holds up, by a pipeline or a key, from the others: they do not wait again."""
        now = time.monotonic()
        held = [item for item in items if now < self._submits_again_at.get(item.key, 0.0)]
        if held:
            keys = {item.key for item in held}
            items = [item for item in items if item.key not in keys]
        if not items or not self._held_stages:
            return items, held
        if now > self._waits_again_at:  # who only looks may always find another writer there
            self._held_stages = set()
            return items, held
        async with self._session.use() as connection:
            self._held_stages = await self._follower.held(connection, self._held_stages)
        held += [item for item in items if item.card.stage_id in self._held_stages]
        return [item for item in items if item.card.stage_id not in self._held_stages], held

    def try_later(self, item: FlushItem) -> None:
        """It was alone, and somebody else's key in its way."""
        self._submits_again_at[item.key] = time.monotonic() + WAITS_AGAIN_AFTER

    def apart(self, items: Sequence[FlushItem]) -> list[list[FlushItem]]:
        """These in groups that are written apart: those that had to wait for somebody else's key each alone, last."""
        alone = [item for item in items if self._submits_again_at.pop(item.key, None) is not None]
        keys = {item.key for item in alone}
        together = [item for item in items if item.key not in keys]
        return [*([together] if together else []), *([item] for item in alone)]

    async def _transaction(
        self, connection: asyncpg.Connection, items: Sequence[FlushItem], confirmed: list[int]
    ) -> list[asyncpg.Record]:
        try:
            async with connection.transaction():
                return await self._send_and_follow(connection, items, confirmed)
        except asyncpg.LockNotAvailableError as error:
            stages = {item.card.stage_id for item in items if item.card.stage_id is not None}
            self._held_stages = await self._follower.held(connection, stages)
            self._waits_again_at = time.monotonic() + WAITS_AGAIN_AFTER
            if not self._held_stages and any(item.submits for item in items):
                raise KeyTaken from error
        others = [item for item in items if item.card.stage_id not in self._held_stages]
        async with connection.transaction():
            return await self._send_and_follow(connection, others, confirmed)

    async def _send_and_follow(
        self, connection: asyncpg.Connection, items: Sequence[FlushItem], confirmed: list[int]
    ) -> list[asyncpg.Record]:
        """What follows from the rows that were written. Stages are settled last: more jobs may have come into them."""
        rows = await self._send(connection, items, confirmed)
        by_key = {item.key: item for item in items}
        changes: list[StageChange] = []
        wished: list[str] = []
        plans: dict[UUID, str] = {}
        for row in rows:
            item = by_key[(row["id"], row["run"])]
            if item.card.stage_id is not None:
                changes.extend(changes_of_run(row, item.card.stage_id, item.outcome))
            if row["ends"] and isinstance(item.outcome, Succeeded):
                if item.outcome.next_jobs is not None:
                    next_jobs = item.outcome.next_jobs
                    async for _ in self._submission.submit_next(connection, jobs=next_jobs, patience=PATIENCE):
                        pass
                if item.outcome.stage_changes is not None:
                    wished.append(item.outcome.stage_changes)
            if row["status"] == JobStatus.PENDING and isinstance(item.outcome, Parked):
                plans[item.job_id] = item.outcome.plan
        touched = [each.stage_id for each in changes]
        if plans:
            await self._follower.start_parts(connection, plans, touched)
        if wished:
            await self._follower.change_stages(connection, joined(wished), touched)
        await self._follower.settle(connection, changes)
        return rows

    async def _send(
        self, connection: asyncpg.Connection, items: Sequence[FlushItem], confirmed: list[int]
    ) -> list[asyncpg.Record]:
        now = time.monotonic()
        columns = [columns_of(item, now) for item in items]
        names = FlushColumns.__slots__
        arrays = {name: [getattr(column, name) for column in columns] for name in names}
        return [row async for row in self._sql.flush(connection, daemon=self._daemon_id, confirmed=confirmed, **arrays)]
