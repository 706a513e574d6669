"""A queue with tenants, their live and their waiting jobs, laid out in the database for claims."""

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from uuid import UUID

import asyncpg
from factory import empty_tables, make_daemon
from fair_share import Tenant

from jobservice.lifecycle.claim import Claimer
from jobservice.lifecycle.limits import Limits

LIVE = 10_000
"""The numbers of live jobs begin here."""


class Scene:
    """A queue with these tenants, laid out in the database."""

    def __init__(self, connection: asyncpg.Connection, other: asyncpg.Connection) -> None:
        self.connection = connection
        self.other = other
        self.daemon = UUID(int=0)
        self.ended: list[UUID] = []

    async def lay_out(self, tenants: list[Tenant], queue_max: int | None) -> None:
        await empty_tables(self.connection)
        self.daemon = await make_daemon(self.connection)
        await Limits().set_queue(self.connection, "default", max_running=-1 if queue_max is None else queue_max)
        await self.connection.executemany(
            "INSERT INTO jobservice.tenant (tenant, max_running, paused, weight) VALUES ($1, $2, $3, $4)",
            [(t.name, t.over_all_max, t.paused, t.weight) for t in tenants],
        )
        await self.connection.executemany(
            "INSERT INTO jobservice.tenant_share (queue, tenant, max_running) VALUES ('default', $1, $2)",
            [(t.name, t.here_max) for t in tenants],
        )
        await self.connection.executemany(
            """INSERT INTO jobservice.tenant_account
                      (queue, tenant, turn, active, since, weight, charged, rank, number)
               VALUES ('default', $1, 0, true, CASE WHEN $2 THEN 0 END, $3, $4, -2147483648, 0)""",
            [(t.name, t.active, t.weight, t.charged) for t in tenants],
        )
        live = [
            (UUID(int=LIVE + n), t, nth) for n, (t, nth) in enumerate((t, n) for t in tenants for n in range(t.live))
        ]
        self.ended = [job_id for job_id, tenant, nth in live if nth < tenant.ended]
        await self.connection.executemany(
            """INSERT INTO jobservice.job_info (id, tenant, queue, job_class, status, daemon_id, run, claim_date)
               VALUES ($1, $2, 'default', 'Nap', 'TO_BE_RUN', $3, 1, clock_timestamp() - make_interval(secs => $4))""",
            [(job_id, t.name, self.daemon, t.age) for job_id, t, _ in live],
        )
        waiting = sorted((job.number, job, t.name) for t in tenants for job in t.waiting)
        await self.connection.executemany(
            """INSERT INTO jobservice.job_info
                      (id, tenant, queue, job_class, priority, concurrency_key, status, queued_date)
               VALUES ($1, $2, 'default', $3, $4, $5, 'QUEUED', now())""",
            [(UUID(int=n), tenant, job.job_class, job.priority, job.key) for n, job, tenant in waiting],
        )
        await self.connection.execute(
            """INSERT INTO jobservice.concurrency_key (tenant, key)
               SELECT DISTINCT tenant, concurrency_key FROM jobservice.job_info WHERE concurrency_key IS NOT NULL"""
        )

    @asynccontextmanager
    async def held(self, tenants: list[Tenant]) -> AsyncIterator[None]:
        """Another session has locked the rows of the jobs that are held."""
        ids = [UUID(int=job.number) for tenant in tenants for job in tenant.waiting if job.held]
        async with self.other.transaction():
            await self.other.fetch("SELECT FROM jobservice.job_info WHERE id = ANY ($1) FOR UPDATE", ids)
            yield

    async def claim(self, slots: int, skipped: list[str]) -> set[int]:
        claimer = Claimer(daemon_id=self.daemon, schema="jobservice", submissions_published=False)
        claim = await claimer.claim(
            self.connection, queue="default", slots=slots, skipped_classes=skipped, charges={}, unwritten=self.ended
        )
        return {job.card.job_id.int for job in claim.jobs}

    async def claim_beside_holders(self, tenants: list[Tenant], slots: int, skipped: list[str]) -> set[int]:
        async with self.held(tenants):
            return await self.claim(slots, skipped)

    async def shares(self) -> dict[str, tuple[float, bool]]:
        rows = await self.connection.fetch(
            "SELECT tenant, charged, since IS NOT NULL AS active FROM jobservice.tenant_account"
        )
        return {row["tenant"]: (row["charged"], row["active"]) for row in rows}

    async def run_elsewhere(self, numbers: Sequence[int]) -> None:
        """These waiting jobs run on another queue."""
        await self.connection.execute("INSERT INTO jobservice.queue (queue) VALUES ('other') ON CONFLICT DO NOTHING")
        await self.connection.execute(
            """UPDATE jobservice.job_info
               SET queue = 'other', status = 'TO_BE_RUN', run = 1, daemon_id = $1, claim_date = now()
               WHERE id = ANY ($2)""",
            self.daemon,
            [UUID(int=number) for number in numbers],
        )
