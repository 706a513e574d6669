"""Jobs by SQL: what a client with a database does. The statements are those of lifecycle and store."""

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import fields, replace
from datetime import UTC, datetime
from functools import partial
from typing import Any
from uuid import UUID

import asyncpg

from jobservice.client.answers import Page, Run
from jobservice.client.database import ClientDatabase
from jobservice.client.looking import until
from jobservice.domain.errors import UnknownJob
from jobservice.domain.states import FINAL, JobStatus
from jobservice.lifecycle.commands import CommandResult, Commands
from jobservice.lifecycle.submission import Submitter
from jobservice.sdk.job_info import JobInfo
from jobservice.sdk.json_values import dump
from jobservice.store.job_reader import JobFilter, JobReader

_STOPPED_AT_ONCE = 500
_SELECTED_AT_MOST = 2**31 - 1
_JOB_FIELDS = frozenset(field.name for field in fields(JobInfo))


class SqlJobs:
    """Submits, commands and asks through one database."""

    def __init__(self, *, database: ClientDatabase, schema: str) -> None:
        self._database = database
        self._reader = JobReader(schema)
        self._commands = Commands(schema=schema)
        self._submitter = Submitter(schema=schema)

    async def submit(self, jobs: Sequence[JobInfo], connection: asyncpg.Connection | None = None) -> list[JobInfo]:
        """Store all of them or none; in the caller's transaction when `connection` is given."""
        if not jobs:
            return []
        text = dump([job.to_submission() for job in jobs])
        async with self._database.use(connection) as used:
            stored = await self._submitter.submit(used, text)
            # An idempotency key may have named jobs that are there already, and those have a life of their own.
            known = {
                row["id"]: row
                for row in await self._reader.get(used, [job_id for job_id, created in stored if not created])
            }
        now = datetime.now(UTC)
        return [
            _submitted(job, job_id, now) if created or job_id not in known else job_of(known[job_id])
            for job, (job_id, created) in zip(jobs, stored, strict=True)
        ]

    async def command(self, verb: str, ids: Sequence[UUID], **given: Any) -> list[CommandResult]:
        """Apply the command of lifecycle that has this name to each id; results in the order given."""
        apply: Callable[..., Awaitable[list[CommandResult]]] = getattr(self._commands, verb)
        async with self._database.use() as connection:
            return await apply(connection, list(ids), **given)

    async def rerun(self, job_id: UUID) -> JobInfo:
        """Submit an ended job once more, as a new one. Raises UnknownJob, NotLegal."""
        async with self._database.use() as connection:
            (result,) = await self._commands.rerun(connection, [job_id])
            refusal = result.refusal("rerun")
            if refusal is not None or result.new_job_id is None:
                raise refusal or UnknownJob(job_id)
            (row,) = await self._reader.get(connection, [result.new_job_id])
        return job_of(row)

    async def stop_selected(self, wanted: JobFilter, reason: str | None) -> list[CommandResult]:
        """Stop all that match, in bounded transactions; those that accepted it."""
        # One look at all of them: a live job that accepts its stop still matches, and would be found for ever.
        async with self._database.use() as connection:
            ids = await self._commands.select_ids(
                connection,
                tenant=wanted.tenant,
                job_class=wanted.job_class,
                statuses=wanted.statuses,
                owner=wanted.owner,
                batch=_SELECTED_AT_MOST,
            )
        stopped: list[CommandResult] = []
        for start in range(0, len(ids), _STOPPED_AT_ONCE):
            results = await self.command("stop", ids[start : start + _STOPPED_AT_ONCE], reason=reason)
            stopped += [result for result in results if result.accepted]
        return stopped

    async def get(self, job_id: UUID) -> JobInfo:
        """One job as it stands. Raises UnknownJob."""
        async with self._database.use() as connection:
            rows = await self._reader.get(connection, [job_id])
        if not rows:
            raise UnknownJob(job_id)
        return job_of(rows[0])

    async def find(self, wanted: JobFilter, *, limit: int, after: UUID | None) -> Page:
        """A page of jobs, newest first."""
        async with self._database.use() as connection:
            # One more than asked for tells whether there is another page.
            rows = await self._reader.find(connection, wanted, after=after, limit=limit + 1)
        jobs = [job_of(row) for row in rows[:limit]]
        return Page(jobs=jobs, next=jobs[-1].job_id if len(rows) > limit else None)

    async def count(self, wanted: JobFilter) -> int:
        """How many jobs match."""
        async with self._database.use() as connection:
            return await self._reader.count(connection, wanted)

    async def runs(self, job_id: UUID) -> list[Run]:
        """All runs of a job, the first one first."""
        async with self._database.use() as connection:
            return [Run(**row) for row in await self._reader.runs(connection, job_id)]

    async def why_not_running(self, job_id: UUID) -> list[str]:
        """The reasons for which a waiting job waits."""
        async with self._database.use() as connection:
            return await self._reader.why_not_running(connection, job_id)

    async def wait(self, job_id: UUID, timeout: float | None) -> JobInfo:
        """The job once it has ended.

        Raises UnknownJob (also where it was cleaned away meanwhile), TimeoutError after `timeout` seconds.
        """
        await until(lambda status: status in FINAL, partial(self._status, job_id), f"job {job_id}", timeout)
        return await self.get(job_id)

    async def _status(self, job_id: UUID) -> JobStatus:
        async with self._database.use() as connection:
            status = await self._reader.status(connection, job_id)
        if status is None:
            raise UnknownJob(job_id)
        return JobStatus(status)


def job_of(row: dict[str, Any]) -> JobInfo:
    """A row of `job_reader` as the record that users handle."""
    values = {name: value for name, value in row.items() if name in _JOB_FIELDS and value is not None}
    return JobInfo(**values | {"job_id": row["id"], "status": JobStatus(row["status"])})


def _submitted(job: JobInfo, job_id: UUID, now: datetime) -> JobInfo:
    waits = job.trigger_after_date is not None and job.trigger_after_date > now
    return replace(job, job_id=job_id, sequence=1, status=JobStatus.PENDING if waits else job.status)
