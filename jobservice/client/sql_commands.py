"""Lifecycle's commands as the client sends them, on a connection that it is given."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any
from uuid import UUID

import asyncpg

from jobservice import lifecycle
from jobservice.domain.errors import NotLegal, UnknownJob
from jobservice.domain.states import FINAL
from jobservice.lifecycle.submission import Submitter
from jobservice.store.job_reader import JobFilter
from jobservice.store.sql import load

_FILE = Path(lifecycle.__file__).with_name("commands.sql")


class SqlCommands:
    """The statements of `lifecycle/commands.sql`, for one schema, for a caller who may act on every tenant."""

    def __init__(self, schema: str) -> None:
        self._sql = load(_FILE, schema)
        self._submitter = Submitter(schema=schema)

    async def submit(self, connection: asyncpg.Connection, jobs: str) -> list[tuple[UUID, bool]]:
        """Submit a JSON array; for each job its id and whether it is new."""
        return await self._submitter.submit(connection, jobs)

    async def apply(
        self, connection: asyncpg.Connection, verb: str, ids: Sequence[UUID], **given: Any
    ) -> list[asyncpg.Record]:
        """One of stop, enqueue, restart, set_locked, update_waiting: a row for each id, in the order given."""
        return [row async for row in getattr(self._sql, verb)(connection, ids=list(ids), tenant=None, **given)]

    async def rerun(self, connection: asyncpg.Connection, job_id: UUID) -> UUID:
        """Submit a copy of an ended job. Raises UnknownJob, NotLegal."""
        async with connection.transaction():
            row = await self._sql.as_submission(connection, id=job_id, tenant=None)
            if row is None:
                raise UnknownJob(job_id)
            if row["status"] not in FINAL:
                raise NotLegal(job_id, "rerun", row["status"])
            submission = row["submission"]
            text = submission if isinstance(submission, str) else json.dumps(submission)
            ((new_id, _),) = await self.submit(connection, text)
            await self._sql.link_rerun(connection, id=new_id, original=job_id)
        return new_id

    async def select(self, connection: asyncpg.Connection, wanted: JobFilter, batch: int) -> list[UUID]:
        """At most `batch` ids of jobs that match, oldest first."""
        found = self._sql.select_ids(
            connection,
            tenant=wanted.tenant,
            job_class=wanted.job_class,
            statuses=wanted.statuses,
            owner=wanted.owner,
            batch=batch,
        )
        return [row["id"] async for row in found]

    async def set_tenant(
        self,
        connection: asyncpg.Connection,
        tenant: str,
        *,
        paused: bool | None,
        max_running: int | None,
        weight: float | None,
    ) -> None:
        """None leaves as it is; a `max_running` of -1 takes the limit away."""
        await self._sql.set_tenant(connection, tenant=tenant, paused=paused, max_running=max_running, weight=weight)

    async def set_queue(
        self, connection: asyncpg.Connection, queue: str, *, paused: bool | None, max_running: int | None
    ) -> None:
        """None leaves as it is; a `max_running` of -1 takes the limit away."""
        await self._sql.set_queue(connection, queue=queue, paused=paused, max_running=max_running)
        await self.wake(connection, [queue])

    async def set_share(
        self, connection: asyncpg.Connection, queue: str, tenant: str, *, max_running: int | None, weight: float | None
    ) -> None:
        """A tenant's limit and weight on one queue."""
        await self._sql.set_share(connection, queue=queue, tenant=tenant, max_running=max_running, weight=weight)
        await self.wake(connection, [queue])

    async def wake(self, connection: asyncpg.Connection, queues: Sequence[str]) -> None:
        """Wake idle daemons: what was held back may run now."""
        for queue in queues:
            async for _ in self._sql.wake_queue(connection, queue=queue):
                pass
