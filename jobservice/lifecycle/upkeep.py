"""Transitions that come due by themselves: trigger dates, expiration, retention. Called by the maintenance loops."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from uuid import UUID

import asyncpg

from jobservice.domain.states import JobStatus
from jobservice.lifecycle.following import Follower, changes_of_rows
from jobservice.store.sql import load

_FILE = Path(__file__).with_name("upkeep.sql")
BATCH = 1_000

Key = tuple[str, str]
"""A concurrency key: its tenant and its name."""
FIRST_KEY: Key = ("", "")
"""Before all keys."""


InstancePlace = tuple[datetime, UUID]
"""Where in the order of their making an instance of a job with steps is."""
FIRST_INSTANCE: InstancePlace = (datetime.min.replace(tzinfo=UTC), UUID(int=0))
"""Before all instances."""
INSTANCES = 100
"""A batch of instances: each may have thousands of parts."""


@dataclass(frozen=True, slots=True)
class Due:
    """What one look found. What is next is in seconds from now, negative when overdue, None without any."""

    next_trigger: float | None
    next_fire: float | None
    """Of a schedule; not after now, too, where a tick of one waits for nothing any more."""
    next_step: float | None
    """Of aging."""
    expired: bool
    blocked: bool
    claimable: bool
    unsettled: bool
    unpublished: bool


class Upkeep:
    """Each call is one transaction; `SKIP LOCKED` keeps several daemons out of each other's way."""

    def __init__(self, *, schema: str, follower: Follower) -> None:
        self._sql = load(_FILE, schema)
        self._follower = follower

    async def look(self, connection: asyncpg.Connection, queues: Sequence[str] = ()) -> Due:
        """The one query of an idle daemon's upkeep. `queues`: in which ones anything that may be claimed counts."""
        row = await self._sql.look(connection, queues=list(queues))
        trigger, fire, step = row["next_due"], row["next_fire"], row["next_step"]
        return Due(
            next_trigger=trigger.total_seconds() if trigger is not None else None,
            next_fire=0.0 if row["freed"] else fire.total_seconds() if fire is not None else None,
            next_step=step.total_seconds() if step is not None else None,
            expired=row["expired"],
            blocked=row["blocked"],
            claimable=row["claimable"],
            unsettled=row["unsettled"],
            unpublished=row["unpublished"],
        )

    async def enqueue_due(self, connection: asyncpg.Connection) -> int:
        """PENDING → QUEUED for due trigger dates; how many of one batch."""
        return len([row async for row in self._sql.enqueue_due(connection, batch=BATCH)])

    async def expire(self, connection: asyncpg.Connection) -> int:
        """PENDING / QUEUED → FAILED for expired waiting jobs; how many of one batch."""
        async with connection.transaction():
            rows = [row async for row in self._sql.expire(connection, batch=BATCH)]
            await self._follower.settle(connection, changes_of_rows(rows))
        return len(rows)

    async def blocked_keys(self, connection: asyncpg.Connection, *, after: Key = FIRST_KEY) -> list[Key]:
        """One batch of the concurrency keys behind `after` that jobs wait for outside the claimable index."""
        tenant, key = after
        rows = self._sql.blocked_keys(connection, after_tenant=tenant, after_key=key, batch=BATCH)
        return [(row["tenant"], row["key"]) async for row in rows]

    async def forget_keys(self, connection: asyncpg.Connection, *, after: Key = FIRST_KEY) -> tuple[int, Key]:
        """Looks at one batch of keys behind `after`, deletes those that nobody needs; how many, and where to go on."""
        tenant, key = after
        row = await self._sql.forget_keys(connection, after_tenant=tenant, after_key=key, batch=BATCH)
        if row is None:
            return 0, FIRST_KEY
        return row["gone"], (row["tenant"], row["key"]) if row["looked_at"] == BATCH else FIRST_KEY

    async def clean(self, connection: asyncpg.Connection, status: JobStatus, *, older_than: float) -> int:
        """Deletes one batch of jobs that ended with `status` more than `older_than` seconds ago; how many."""
        return int(await self._sql.clean(connection, status=status.value, older_than=older_than, batch=BATCH))

    async def clean_instances(
        self, connection: asyncpg.Connection, *, older_than: float, after: InstancePlace = FIRST_INSTANCE
    ) -> tuple[int, InstancePlace]:
        """Looks at one batch of instances behind `after`, deletes those without a job; how many, and where to go on."""
        date, key = after
        row = await self._sql.clean_instances(
            connection, older_than=older_than, after_date=date, after_id=key, batch=INSTANCES
        )
        if row is None:
            return 0, FIRST_INSTANCE
        return row["gone"], (row["created_date"], row["id"]) if row["looked_at"] == INSTANCES else FIRST_INSTANCE

    async def abandon_pending(self, connection: asyncpg.Connection, *, older_than: float) -> int:
        """Stops one batch of jobs that a user has held for longer; how many."""
        return len([row async for row in self._sql.abandon_pending(connection, older_than=older_than, batch=BATCH)])

    async def raise_waiting(self, connection: asyncpg.Connection) -> tuple[int, bool]:
        """One batch of a step of aging that is due; how many jobs rose, and whether the step goes on."""
        row = await self._sql.raise_waiting(connection, batch=BATCH)
        return row["raised"], row["more"]

    async def forget_daemons(self, connection: asyncpg.Connection, *, older_than: float) -> int:
        """Deletes rows of daemons that ended long ago; how many."""
        return int(await self._sql.forget_daemons(connection, older_than=older_than))

    async def may_audit(self, connection: asyncpg.Connection, *, every: float) -> bool:
        """Whether the claim's books are to be audited now, by this daemon: one of all that ask in `every` seconds."""
        return bool(await self._sql.may_audit(connection, seconds=every))

    async def call_forgotten(self, connection: asyncpg.Connection) -> list[tuple[str, str]]:
        """Lets the next claims find what they would not have found; queue and tenant of it."""
        return [(row["queue"], row["tenant"]) async for row in self._sql.call_forgotten(connection)]
