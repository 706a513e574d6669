"""Deletes pipelines that ended long ago with all that belongs to them, and stops those that nobody starts.

Called by the retention loop. Its batches are bounded: a pipeline of 100,000 jobs goes in a hundred of them. Never one
with a locked job, never one of which events are not published yet.
"""

from pathlib import Path
from uuid import UUID

import asyncpg

from jobservice.domain.pipelines import PipelineStatus
from jobservice.store.sql import load

_FILE = Path(__file__).with_name("cleaning.sql")

JOBS_AT_ONCE = 1_000
PIPELINES_AT_ONCE = 100


class PipelineCleaner:
    """The statements of one schema."""

    def __init__(self, *, schema: str) -> None:
        self._sql = load(_FILE, schema)

    async def clean(
        self, connection: asyncpg.Connection, status: PipelineStatus, *, older_than: float
    ) -> tuple[int, bool]:
        """One batch of those that ended with `status` so many seconds ago: how many went, whether there may be more."""
        async with connection.transaction():
            rows = self._sql.begin_to_clean(
                connection, status=status.value, older_than=older_than, batch=PIPELINES_AT_ONCE
            )
            ids: list[UUID] = [row["id"] async for row in rows]
            if not ids:
                return 0, False
            jobs = await self._sql.clean_jobs(connection, pipelines=ids, batch=JOBS_AT_ONCE)
            gone = await self._sql.forget(connection, pipelines=ids)
        return gone, jobs == JOBS_AT_ONCE or gone == PIPELINES_AT_ONCE

    async def abandon(self, connection: asyncpg.Connection, *, older_than: float) -> bool:
        """Stops one batch of those that nobody has started for longer; whether there may be more."""
        async with connection.transaction():
            rows = [row async for row in self._sql.abandon(connection, older_than=older_than, batch=PIPELINES_AT_ONCE)]
        return len(rows) == PIPELINES_AT_ONCE
