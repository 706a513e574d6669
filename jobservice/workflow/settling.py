"""Moves pipelines on after jobs of their stages have changed, inside the transaction that changed them.

Called by the writers of job state, who are handed a Settler and know it as their Follower. docs/pipelines.md has the
protocol.
"""

from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from uuid import UUID

import asyncpg

from jobservice.lifecycle.following import StageChange
from jobservice.store.sql import load

_FILE = Path(__file__).with_name("workflow.sql")

PIPELINES_AT_ONCE = 10
JOBS_AT_ONCE = 1_000
PATIENCE = "1s"
"""How long to wait for a pipeline's row. Writers hold it for milliseconds; a client may hold it as long as it likes."""
_FIRST = UUID(int=0)


class Settler:
    """The function `settle` of one schema. Every call belongs to the caller's transaction."""

    def __init__(self, *, schema: str) -> None:
        self._sql = load(_FILE, schema)
        self._after = _FIRST

    async def settle(self, connection: asyncpg.Connection, changes: Sequence[StageChange]) -> None:
        """Counts these changes and moves on what they move: opens stages, completes them, ends pipelines.

        Waits a short while only for a pipeline that somebody holds: then the driver's LockNotAvailableError.
        """
        if changes:
            await self._sql.settle(
                connection,
                stages=[each.stage_id for each in changes],
                changes=[each.change for each in changes],
                start_dates=[each.start_date for each in changes],
                patience=PATIENCE,
            )

    async def change_stages(self, connection: asyncpg.Connection, changes: str, touched: Sequence[UUID]) -> None:
        """What jobs asked for with their success: a JSON array, as the SQL function of this name takes it.

        `touched` are the stages of all jobs of the transaction. Their pipelines are locked first, in the order of all.
        """
        rows = self._sql.change_stages(connection, changes=changes, touched=list(touched), patience=PATIENCE)
        async for _ in rows:
            pass

    async def start_parts(
        self, connection: asyncpg.Connection, plans: Mapping[UUID, str], touched: Sequence[UUID]
    ) -> None:
        """Makes the parts of a step of each of these jobs as planned, or lets those run again that failed.

        `touched` as for `change_stages`: their pipelines are locked first, with those that the jobs have had for parts.
        """
        await self._sql.lock_with_parts(connection, touched=list(touched), parents=list(plans), patience=PATIENCE)
        for parent, plan in plans.items():
            async for _ in self._sql.start_parts(connection, parent=parent, plan=plan):
                pass

    async def held(self, connection: asyncpg.Connection, stages: Collection[UUID]) -> set[UUID]:
        """Those of these stages whose pipeline somebody holds just now."""
        return {row["id"] async for row in self._sql.held(connection, stages=list(stages))}

    async def settle_next(self, connection: asyncpg.Connection) -> bool:
        """Goes on with the next pipelines that were left unsettled; whether more can be moved at once.

        In turns: what somebody holds, or what has thousands of jobs to be moved, does not stand before the others.
        """
        more = bool(await self._sql.settle_doubts(connection, batch=JOBS_AT_ONCE))
        async with connection.transaction():
            rows = self._sql.unsettled(connection, after=self._after, batch=PIPELINES_AT_ONCE)
            ids: list[UUID] = [row["id"] async for row in rows]
            if not ids:
                return more
            self._after = ids[-1]
            return bool(await self._sql.settle_also(connection, pipelines=ids)) or more
