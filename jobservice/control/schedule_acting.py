"""Carries out one command on a schedule in one transaction."""

from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

import asyncpg

from jobservice.control.schedules import AddSchedule, ChangeSchedule, OnSchedule
from jobservice.domain.errors import ErrorCode, InvalidSubmission, NotLegal, UnknownSchedule
from jobservice.domain.schedule_definition import Definition
from jobservice.schedules.table import ScheduleTable


@dataclass(frozen=True, slots=True)
class ScheduleResult:
    """What a command did to one schedule. `paused` and `next_fire_date` are None where there is none now."""

    schedule: str
    accepted: bool
    paused: bool | None = None
    next_fire_date: datetime | None = None
    code: ErrorCode | None = None
    reason: str | None = None
    new_job_id: UUID | None = None
    new_pipeline_id: UUID | None = None
    waiting: int = 0


class ScheduleActing:
    """The commands on the schedules of one schema, as they came over the wire."""

    def __init__(self, *, schema: str) -> None:
        self._table = ScheduleTable(schema=schema)

    async def apply(
        self, connection: asyncpg.Connection, command: OnSchedule, *, tenant: str | None, key: str | None
    ) -> list[ScheduleResult]:
        """Apply `command` for `tenant`; `key` makes a repeated run harmless. Raises InvalidSubmission."""
        if tenant is None:
            raise InvalidSubmission("tenant: an operator must name one", field="tenant")
        try:
            made = await self._done(connection, command, tenant, key)
        except UnknownSchedule as error:
            return [ScheduleResult(command.schedule, accepted=False, code=error.code)]
        except NotLegal as error:
            return [await self._told(connection, command, tenant, refused=error)]
        return [await self._told(connection, command, tenant, made=made)]

    async def _done(
        self, connection: asyncpg.Connection, command: OnSchedule, tenant: str, key: str | None
    ) -> UUID | None:
        """What it has submitted, where it has."""
        table = self._table
        match command:
            case AddSchedule():
                definition = _definition(command, tenant)
                await table.add(connection, definition, paused=command.paused, replace=command.replace)
            case ChangeSchedule(command="pause_schedule"):
                await table.pause(connection, tenant, command.schedule)
            case ChangeSchedule(command="resume_schedule"):
                await table.resume(connection, tenant, command.schedule)
            case ChangeSchedule(command="remove_schedule"):
                await table.remove(connection, tenant, command.schedule)
            case ChangeSchedule():
                return await table.run_now(connection, tenant, command.schedule, key=key)
        return None

    async def _told(
        self,
        connection: asyncpg.Connection,
        command: OnSchedule,
        tenant: str,
        *,
        made: UUID | None = None,
        refused: NotLegal | None = None,
    ) -> ScheduleResult:
        found = await self._table.find(connection, tenant=tenant, name=command.schedule)
        now = found[0] if found else None
        return ScheduleResult(
            command.schedule,
            accepted=refused is None,
            paused=now.paused if now else None,
            next_fire_date=now.next_fire_date if now and not now.paused else None,
            code=refused.code if refused else None,
            reason=str(refused) if refused else None,
            new_job_id=made if now and now.job is not None else None,
            new_pipeline_id=made if now and now.job is None else None,
            waiting=now.waiting if now else 0,
        )


def _definition(command: AddSchedule, tenant: str) -> Definition:
    return Definition(
        tenant=tenant,
        name=command.schedule,
        job=command.job,
        pipeline=command.pipeline,
        cron=command.cron,
        every=command.every,
        time_zone=command.time_zone,
        catch_up=command.catch_up,
        catch_up_within=command.catch_up_within,
        overlap=command.overlap,
    )
