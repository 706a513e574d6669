"""Carries out one command in one transaction. Which tenant may do what is decided by the door."""

from typing import Any, Final
from uuid import UUID

import asyncpg

from jobservice.control.limits import SetLimit
from jobservice.control.wire import (
    AnyCommand,
    Drain,
    Enqueue,
    HoldClass,
    Lock,
    OnJobs,
    PauseQueue,
    PauseTenant,
    RegisterSubscription,
    ReleaseClass,
    Rerun,
    Restart,
    Stop,
    Update,
)
from jobservice.domain.errors import InvalidSubmission
from jobservice.domain.facts import EventMode
from jobservice.lifecycle.class_holds import ClassHolds
from jobservice.lifecycle.commands import CommandResult, Commands
from jobservice.lifecycle.limits import NO_AGING, NO_LIMIT, NO_RATE, ONE_AT_A_TIME, Limits
from jobservice.store.overview import Overview

_TENANTS_WEIGHT: Final = 1.0
_NO_WEIGHT: Final = 0.0
_ALL: Final = 2**31 - 1
_ALL_EVENTS: Final[EventMode] = "all"


class Acting:
    """The commands of one schema, as they came over the wire."""

    def __init__(self, *, schema: str) -> None:
        self._commands = Commands(schema=schema)
        self._limits = Limits(schema=schema)
        self._overview = Overview(schema)
        self._holds = ClassHolds(schema=schema)

    async def apply(
        self, connection: asyncpg.Connection, command: AnyCommand, *, tenant: str | None, key: str | None
    ) -> list[CommandResult]:
        """Apply `command` for `tenant` (None: an operator, for all); `key` makes a repeated rerun harmless.

        The results of a command on jobs, in the order given; none for the others. Raises InvalidSubmission.
        """
        if isinstance(command, OnJobs):
            return await self._on_jobs(connection, command, tenant, key)
        match command:
            case PauseTenant():
                if tenant is None:
                    raise InvalidSubmission("tenant: an operator must name one", field="tenant")
                await self._limits.set_tenant(connection, tenant, paused=command.command == "pause_tenant")
            case PauseQueue():
                paused = command.command == "pause_queue"
                await self._limits.set_queue(connection, command.queue, paused=paused)
            case SetLimit():
                await self._set_limit(connection, command)
            case HoldClass():
                await self._holds.hold(connection, command.job_class, reason=command.reason)
            case ReleaseClass():
                await self._holds.release(connection, command.job_class)
            case Drain():
                await self._drain(connection, command.daemon_id)
            case RegisterSubscription():
                await self._register(connection, command, tenant)
        return []

    async def selected(self, connection: asyncpg.Connection, stop: Stop, *, tenant: str | None) -> list[UUID]:
        """The jobs that a stop's selection names and that have not ended."""
        return await self._commands.select_ids(
            connection,
            tenant=tenant,
            job_class=stop.job_class,
            statuses=stop.statuses,
            owner=stop.owner,
            batch=_ALL,
        )

    async def stop(
        self, connection: asyncpg.Connection, ids: list[UUID], *, reason: str | None, tenant: str | None
    ) -> list[CommandResult]:
        """Stop some of the selected jobs."""
        return await self._commands.stop(connection, ids, reason=reason, tenant=tenant)

    async def _on_jobs(
        self, connection: asyncpg.Connection, command: OnJobs, tenant: str | None, key: str | None
    ) -> list[CommandResult]:
        commands, ids = self._commands, command.ids
        match command:
            case Stop():
                return await commands.stop(connection, ids, reason=command.reason, tenant=tenant)
            case Enqueue():
                return await commands.enqueue(connection, ids, tenant=tenant)
            case Restart():
                return await commands.restart(connection, ids, expiration=command.expiration_date, tenant=tenant)
            case Rerun():
                return await commands.rerun(connection, ids, idempotency_key=key, tenant=tenant)
            case Lock():
                set_locked = commands.lock if command.command == "lock" else commands.unlock
                return await set_locked(connection, ids, tenant=tenant)
            case Update():
                return await commands.update(
                    connection, ids, priority=command.priority, expiration=command.expiration_date, tenant=tenant
                )
        raise AssertionError(f"{type(command).__name__} is not carried out")

    async def _set_limit(self, connection: asyncpg.Connection, command: SetLimit) -> None:
        limit = command.max_running
        if limit is None and "max_running" in command.model_fields_set:
            limit = NO_LIMIT
        weight = command.weight
        if weight is None and "weight" in command.model_fields_set:
            weight = _TENANTS_WEIGHT if command.queue is None else _NO_WEIGHT
        rate = command.starts
        if rate is None and "rate" in command.model_fields_set:
            rate = NO_RATE
        events = command.events or (_ALL_EVENTS if "events" in command.model_fields_set else None)
        aging = command.aging or (NO_AGING if "aging" in command.model_fields_set else None)
        if command.tenant is None:
            await self._limits.set_queue(
                connection, command.queue or "", max_running=limit, rate=rate, events=events, aging=aging
            )
        elif command.concurrency_key is not None:
            most = ONE_AT_A_TIME if command.max_running is None else command.max_running
            await self._limits.set_key(connection, command.tenant, command.concurrency_key, max_running=most)
        elif command.queue is None:
            await self._limits.set_tenant(connection, command.tenant, max_running=limit, weight=weight, rate=rate)
        else:
            await self._limits.set_share(connection, command.queue, command.tenant, max_running=limit, weight=weight)

    async def _drain(self, connection: asyncpg.Connection, daemon_id: UUID | None) -> None:
        if daemon_id is not None:
            living = {daemon.id for daemon in await self._overview.daemons(connection)}
            if daemon_id not in living:
                raise InvalidSubmission(f"no daemon {daemon_id} is alive", code="refused", field="daemon_id")
        await self._commands.notify_drain(connection, daemon_id)

    async def _register(
        self, connection: asyncpg.Connection, command: RegisterSubscription, tenant: str | None
    ) -> None:
        wanted: dict[str, Any] = command.filter.model_dump(mode="json", exclude_none=True)
        if tenant is not None and wanted.get("tenant") != tenant:
            raise InvalidSubmission("filter.tenant must be that of the routing key", field="filter.tenant")
        await self._overview.remember_subscription(connection, command.name, wanted)
