"""JobInfoService: what a submitting service uses. It chooses the way, by SQL or by messages; it does nothing itself.

With a database everything goes through it, inside the caller's transaction when asked; the broker serves events. A
client with a broker only submits and commands by messages; what must be read from the database raises and says so.
"""

from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import datetime
from typing import Any
from uuid import UUID

import asyncpg

from jobservice.broker.messages import JobEvent
from jobservice.client.answers import Page, Run, all_accepted
from jobservice.client.arguments import (
    class_name,
    ids_of,
    job_filter,
    page_size,
    priority_number,
    reason_text,
    statuses_of,
    zoned,
)
from jobservice.client.broker import ClientBroker
from jobservice.client.database import ClientDatabase
from jobservice.client.instances import Instances
from jobservice.client.operations import Operations
from jobservice.client.pipelines import Pipelines
from jobservice.client.rejected import Rejected
from jobservice.client.schedules import Schedules
from jobservice.client.selection import job_selection
from jobservice.client.subscription import Note, Subscription
from jobservice.client.subscriptions import Subscriptions
from jobservice.client.ways import Ways
from jobservice.domain.errors import ConfigurationError
from jobservice.domain.states import FINAL, JobStatus
from jobservice.lifecycle.commands import CommandResult
from jobservice.sdk.job_info import JobInfo
from jobservice.store.job_reader import JobFilter
from jobservice.store.sql import checked_schema_name


class JobInfoService:
    """Jobs, from outside. Make one with `connect`; it may be shared by all tasks of an event loop.

    Commands on several ids try each of them; where one was refused, the first refusal is raised after all were tried.
    """

    def __init__(self, *, ways: Ways, schema: str) -> None:
        self._ways = ways
        self._schema = schema
        self.pipelines = Pipelines(ways=ways, note=self._note, schema=schema)
        """Pipelines and their stages."""

    @classmethod
    @asynccontextmanager
    async def connect(
        cls,
        database_url: str | None = None,
        amqp_url: str | None = None,
        *,
        schema: str = "jobservice",
        prefix: str = "jobservice",
        statement_cache: bool = True,
        tenant: str | None = None,
    ) -> AsyncIterator["JobInfoService"]:
        """A client; either URL may be missing. It connects to each server when first needed.

        `statement_cache=False` behind a transaction pooler; `tenant` signs the commands of a client that has a broker
        only and may not act on others (default: what an operator may).
        """
        if database_url is None and amqp_url is None:
            raise ConfigurationError("JobInfoService.connect needs database_url, amqp_url or both")
        try:
            checked_schema_name(schema)
        except ValueError as error:
            raise ConfigurationError(str(error)) from None
        database = ClientDatabase(url=database_url, statement_cache=statement_cache) if database_url else None
        broker = ClientBroker(url=amqp_url, prefix=prefix) if amqp_url else None
        ways = Ways(database=database, broker=broker, schema=schema, tenant=tenant)
        try:
            yield cls(ways=ways, schema=schema)
        finally:
            await ways.close()

    async def create_as_queued(self, job: JobInfo, *, connection: asyncpg.Connection | None = None) -> JobInfo:
        """Submit a job that runs as soon as it can; with `connection`, inside the caller's own transaction.

        Gives the JobInfo with its id. Raises InvalidSubmission, naming the field.
        """
        queued = job if job.status is JobStatus.QUEUED else replace(job, status=JobStatus.QUEUED)
        (created,) = await self.create_many([queued], connection=connection)
        return created

    async def create_as_pending(self, job: JobInfo, *, connection: asyncpg.Connection | None = None) -> JobInfo:
        """Submit a job that waits for `enqueue`."""
        (created,) = await self.create_many([replace(job, status=JobStatus.PENDING)], connection=connection)
        return created

    async def create_many(
        self, jobs: Sequence[JobInfo], *, connection: asyncpg.Connection | None = None
    ) -> list[JobInfo]:
        """Submit all of them, or none; each as its `status` says. In the order given."""
        if self._ways.sql is not None or connection is not None:
            return await self._ways.need_sql("submitting inside a transaction").submit(jobs, connection)
        return await self._ways.need_amqp().submit(jobs)

    async def enqueue(self, *ids: UUID) -> list[CommandResult]:
        """PENDING → QUEUED. Raises UnknownJob, NotLegal."""
        return await self._command("enqueue", ids)

    async def stop(self, *ids: UUID, reason: str | None = None) -> list[CommandResult]:
        """Waiting jobs end ABORTED now, live ones as soon as they can be interrupted. Raises UnknownJob, NotLegal."""
        return await self._command("stop", ids, reason=reason_text(reason))

    async def restart(self, *ids: UUID, expiration_date: datetime | None = None) -> list[CommandResult]:
        """FAILED / ABORTED → QUEUED: the same jobs once more. Raises UnknownJob, NotLegal."""
        return await self._command("restart", ids, expiration=zoned(expiration_date))

    async def rerun(self, job_id: UUID) -> JobInfo:
        """A new job like an ended one, linked by `rerun_of`. Raises UnknownJob, NotLegal."""
        return await self._ways.jobs.rerun(job_id)

    async def lock(self, *ids: UUID) -> list[CommandResult]:
        """Retention never removes them. Raises UnknownJob."""
        return all_accepted("lock", await self._ways.need_sql("lock").command("lock", ids))

    async def unlock(self, *ids: UUID) -> list[CommandResult]:
        """Undo `lock`. Raises UnknownJob."""
        return all_accepted("unlock", await self._ways.need_sql("unlock").command("unlock", ids))

    async def set_priority(self, job_id: UUID, priority: int | str) -> list[CommandResult]:
        """A new priority for a job that waits. Raises UnknownJob, NotLegal."""
        return await self._command("update", [job_id], priority=priority_number(priority))

    async def update_expiration(self, date: datetime, *ids: UUID) -> list[CommandResult]:
        """A new expiration date for jobs that wait. Raises UnknownJob, NotLegal."""
        return await self._command("update", ids, expiration=zoned(date))

    async def stop_selected(
        self,
        *,
        tenant: str | None = None,
        job_class: str | None = None,
        status: JobStatus | Sequence[JobStatus] | None = None,
        owner: str | None = None,
        reason: str | None = None,
    ) -> list[CommandResult]:
        """Stop all jobs that match and have not ended. Gives those that accepted it (by message: the first 10,000)."""
        statuses = [each for each in statuses_of(status, JobStatus) or list(JobStatus) if each not in FINAL]
        wanted = JobFilter(tenant=tenant, job_class=job_class, owner=owner, statuses=statuses)
        return await self._ways.jobs.stop_selected(wanted, reason)

    async def pause_tenant(self, tenant: str) -> None:
        """Start no more jobs of this tenant; running ones go on."""
        await self._command_tenant("pause_tenant", tenant)

    async def resume_tenant(self, tenant: str) -> None:
        """Start jobs of this tenant again."""
        await self._command_tenant("resume_tenant", tenant)

    async def get(self, job_id: UUID) -> JobInfo:
        """One job as it stands. Raises UnknownJob."""
        return await self._ways.need_sql("get").get(job_id)

    async def find(
        self,
        *,
        tenant: str | None = None,
        status: JobStatus | Sequence[JobStatus] | None = None,
        job_class: str | type | None = None,
        owner: str | None = None,
        queue: str | None = None,
        parameters: Mapping[str, Any] | None = None,
        limit: int = 100,
        after: UUID | None = None,
    ) -> Page:
        """Jobs that match all that is given, newest first; `parameters` must be contained in the job's."""
        wanted = job_filter(
            tenant=tenant, status=status, job_class=job_class, owner=owner, queue=queue, parameters=parameters
        )
        return await self._ways.need_sql("find").find(wanted, limit=page_size(limit), after=after)

    async def count(
        self,
        *,
        tenant: str | None = None,
        status: JobStatus | Sequence[JobStatus] | None = None,
        job_class: str | type | None = None,
        owner: str | None = None,
        queue: str | None = None,
        parameters: Mapping[str, Any] | None = None,
    ) -> int:
        """How many jobs match; filters as in `find`."""
        return await self._ways.need_sql("count").count(
            job_filter(
                tenant=tenant, status=status, job_class=job_class, owner=owner, queue=queue, parameters=parameters
            )
        )

    async def runs(self, job_id: UUID) -> list[Run]:
        """All runs of a job, the first one first."""
        return await self._ways.need_sql("runs").runs(job_id)

    async def why_not_running(self, job_id: UUID) -> list[str]:
        """The reasons for which a waiting job waits, in words; empty for any other."""
        return await self._ways.need_sql("why_not_running").why_not_running(job_id)

    async def wait(self, job_id: UUID, timeout: float | None = None) -> JobInfo:
        """The job once it has ended. Raises UnknownJob, TimeoutError."""
        return await self._ways.jobs.wait(job_id, timeout)

    def events(
        self,
        *,
        tenant: str | None = None,
        queue: str | None = None,
        job_class: str | type | None = None,
        statuses: set[JobStatus] | None = None,
        durable: str | None = None,
        expires: float | None = None,
        single_active: bool = False,
        prefetch: int = 100,
    ) -> Subscription[JobEvent]:
        """Status changes as they happen: `async with jobs.events(…) as events: async for event in events: …`.

        With `durable`, one queue of that name for all instances of a service, which keeps events while none runs
        (for ever, or until nobody has read it for `expires` seconds); without, a private queue that sees from now on.

        Instances that share a durable name share its events. With `single_active` one of them has them all, in their
        order, and the others stand by. That is settled when the name is first used.
        """
        broker = self._ways.need_broker("events")
        return Subscription(
            broker=broker,
            selection=job_selection(
                broker.names,
                tenant=tenant,
                queue=queue,
                job_class=class_name(job_class),
                statuses=frozenset(statuses_of(statuses, JobStatus) or ()),
            ),
            durable=durable,
            expires=expires,
            single_active=single_active,
            prefetch=prefetch,
            note=self._note,
        )

    @property
    def operations(self) -> Operations:
        """Daemons, tenants, queues, pauses and limits."""
        return Operations(database=self._ways.need_database("operations"), schema=self._schema)

    @property
    def instances(self) -> Instances:
        """Instances of jobs with steps."""
        return Instances(database=self._ways.need_database("instances"), schema=self._schema)

    @property
    def schedules(self) -> Schedules:
        """What is submitted at which dates."""
        return Schedules(database=self._ways.need_database("schedules"), schema=self._schema)

    @property
    def subscriptions(self) -> Subscriptions:
        """Durable subscriptions."""
        database = self._ways.need_database("subscriptions")
        return Subscriptions(database=database, broker=self._ways.broker, schema=self._schema)

    @property
    def rejected(self) -> Rejected:
        """Messages that could not be accepted."""
        return Rejected(broker=self._ways.need_broker("the rejected queue"))

    @property
    def _note(self) -> Note:
        if self._ways.database is not None:
            return self.subscriptions.remember
        return self._ways.need_amqp().note_subscription

    async def _command(self, verb: str, ids: Sequence[UUID], **given: Any) -> list[CommandResult]:
        return all_accepted(verb, await self._ways.jobs.command(verb, ids_of(ids), **given))

    async def _command_tenant(self, verb: str, tenant: str) -> None:
        if self._ways.database is not None:
            await getattr(self.operations, verb)(tenant)
        else:
            await self._ways.need_amqp().command_tenant(verb, tenant)
