"""What users do to jobs that exist, and the word to a daemon that it is to drain: `commands.sql` with types.

For the client and for the door for commands, each with a connection of its own. `tenant` walls off: another tenant's
job is as unknown as none; None is for who may act on all. The driver's errors are translated by whoever gave the
connection (`store.failures`).
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any
from uuid import UUID

import asyncpg

from jobservice.domain.errors import (
    ErrorCode,
    InvalidSubmission,
    JobParameterMissing,
    JobServiceError,
    NotLegal,
    UnknownJob,
)
from jobservice.domain.states import FINAL, JobStatus
from jobservice.lifecycle.submission import Submitter
from jobservice.sdk.references import escaped, may_refer, resolve
from jobservice.store.failures import refusal
from jobservice.store.sql import DEFAULT_SCHEMA, load

_FILE = Path(__file__).with_suffix(".sql")


@dataclass(frozen=True, slots=True, kw_only=True)
class CommandResult:
    """What became of one id: its status afterwards (None: there is no such job), and why it was refused.

    `new_job_id`: what a rerun made.
    """

    job_id: UUID
    status: JobStatus | None
    accepted: bool
    code: ErrorCode | None = None
    reason: str | None = None
    new_job_id: UUID | None = None

    def refusal(self, verb: str) -> JobServiceError | None:
        """The error that tells of the refusal; None where it was accepted."""
        if self.accepted:
            return None
        if self.code == "unknown_job" or self.status is None:
            return UnknownJob(self.job_id)
        if self.code is not None and self.code != "not_legal":
            return InvalidSubmission(self.reason or f"cannot {verb} job {self.job_id}", code=self.code)
        return NotLegal(self.job_id, verb, self.status, self.reason)


class Commands:
    """The commands of one schema. Those on jobs give one result for each id, in the order given."""

    def __init__(self, *, schema: str = DEFAULT_SCHEMA) -> None:
        self._sql = load(_FILE, schema)
        self._submitter = Submitter(schema=schema)
        self._drain_channel = f"{schema}_drain"

    async def stop(
        self,
        connection: asyncpg.Connection,
        ids: Sequence[UUID],
        *,
        reason: str | None = None,
        tenant: str | None = None,
    ) -> list[CommandResult]:
        """Waiting jobs end ABORTED now; live ones get a mark that their daemon obeys."""
        return await _results(self._sql.stop(connection, ids=list(ids), reason=reason, tenant=tenant))

    async def enqueue(
        self, connection: asyncpg.Connection, ids: Sequence[UUID], *, tenant: str | None = None
    ) -> list[CommandResult]:
        """PENDING → QUEUED, where a user holds them."""
        return await _results(self._sql.enqueue(connection, ids=list(ids), tenant=tenant))

    async def restart(
        self,
        connection: asyncpg.Connection,
        ids: Sequence[UUID],
        *,
        expiration: datetime | None = None,
        tenant: str | None = None,
    ) -> list[CommandResult]:
        """FAILED / ABORTED → QUEUED; `expiration` replaces the date, None keeps it."""
        return await _results(self._sql.restart(connection, ids=list(ids), tenant=tenant, expiration=expiration))

    async def lock(
        self, connection: asyncpg.Connection, ids: Sequence[UUID], *, tenant: str | None = None
    ) -> list[CommandResult]:
        """Retention never removes them."""
        return await _results(self._sql.set_locked(connection, ids=list(ids), tenant=tenant, locked=True))

    async def unlock(
        self, connection: asyncpg.Connection, ids: Sequence[UUID], *, tenant: str | None = None
    ) -> list[CommandResult]:
        """Undo `lock`."""
        return await _results(self._sql.set_locked(connection, ids=list(ids), tenant=tenant, locked=False))

    async def update(
        self,
        connection: asyncpg.Connection,
        ids: Sequence[UUID],
        *,
        priority: int | None = None,
        expiration: datetime | None = None,
        tenant: str | None = None,
    ) -> list[CommandResult]:
        """A new priority or expiration date for jobs that wait; None leaves as it is."""
        rows = self._sql.update_waiting(
            connection, ids=list(ids), tenant=tenant, priority=priority, expiration=expiration
        )
        return await _results(rows)

    async def rerun(
        self,
        connection: asyncpg.Connection,
        ids: Sequence[UUID],
        *,
        idempotency_key: str | None = None,
        tenant: str | None = None,
    ) -> list[CommandResult]:
        """Submit copies of ended jobs, linked by `rerun_of`. With a key, the same call again makes no second copies."""
        results = []
        for n, job_id in enumerate(ids):
            key = f"{idempotency_key}/{n}" if idempotency_key else None
            results.append(await self._rerun(connection, job_id, key, tenant))
        return results

    async def _rerun(
        self, connection: asyncpg.Connection, job_id: UUID, key: str | None, tenant: str | None
    ) -> CommandResult:
        async with connection.transaction():
            row = await self._sql.as_submission(connection, id=job_id, tenant=tenant)
            if row is None:
                return CommandResult(job_id=job_id, status=None, accepted=False, code="unknown_job")
            status = JobStatus(row["status"])
            if status not in FINAL:
                return CommandResult(job_id=job_id, status=status, accepted=False, code="not_legal")
            written = row["submission"]
            # A caller's connection may have a codec of its own for jsonb.
            submission = json.loads(written) if isinstance(written, str) else written
            if key is not None:
                submission["idempotency_key"] = key
            try:
                if row["stage_data"] is not None:
                    submission["parameters"] = _alone(submission["parameters"], row)
                new_id = await self._resubmit(connection, json.dumps(submission), job_id)
            except JobParameterMissing as error:
                return CommandResult(job_id=job_id, status=status, accepted=False, code="bad_field", reason=str(error))
            except asyncpg.InvalidParameterValueError as error:
                told = refusal(error)
                if not isinstance(told, InvalidSubmission):
                    raise
                return CommandResult(job_id=job_id, status=status, accepted=False, code=told.code, reason=str(told))
        return CommandResult(job_id=job_id, status=status, accepted=True, new_job_id=new_id)

    async def _resubmit(self, connection: asyncpg.Connection, submission: str, original: UUID) -> UUID:
        async with connection.transaction():  # a savepoint: a refusal must not end the caller's transaction
            ((new_id, _),) = await self._submitter.submit(connection, submission)
            await self._sql.link_rerun(connection, id=new_id, original=original)
        return new_id

    async def select_ids(
        self,
        connection: asyncpg.Connection,
        *,
        tenant: str | None = None,
        job_class: str | None = None,
        statuses: Sequence[str] | None = None,
        owner: str | None = None,
        batch: int,
    ) -> list[UUID]:
        """At most `batch` ids of jobs that match all that is given, oldest first."""
        wanted = [str(status) for status in (statuses if statuses is not None else JobStatus)]
        rows = self._sql.select_ids(
            connection, tenant=tenant, job_class=job_class, statuses=wanted, owner=owner, batch=batch
        )
        return [row["id"] async for row in rows]

    async def notify_drain(self, connection: asyncpg.Connection, daemon_id: UUID | None) -> None:
        """Tell one daemon, or all, to drain: NOTIFY on `<schema>_drain`, with the daemon's id or nothing."""
        daemon = "" if daemon_id is None else str(daemon_id)
        await self._sql.notify_drain(connection, channel=self._drain_channel, daemon=daemon)


async def _results(rows: Any) -> list[CommandResult]:
    return [
        CommandResult(
            job_id=row["job_id"],
            status=JobStatus(row["status"]) if row["status"] is not None else None,
            accepted=row["accepted"],
            code=row["code"],
            reason=row["reason"],
        )
        async for row in rows
    ]


def _alone(parameters: dict[str, Any], row: asyncpg.Record) -> dict[str, Any]:
    """The parameters of a job of a stage for one that belongs to none. Raises JobParameterMissing."""
    written = json.dumps(parameters)
    if not may_refer(written):
        return parameters
    data = {"stage": json.loads(row["stage_data"]), "pipeline": json.loads(row["pipeline_data"])}
    alone: dict[str, Any] = json.loads(escaped(resolve(written, data)))
    return alone
