"""`jobs.schedules`: what is submitted at which dates, kept from outside. Every method needs the database."""

from dataclasses import replace
from datetime import datetime
from uuid import UUID
from zoneinfo import ZoneInfo

from jobservice.client.database import ClientDatabase
from jobservice.domain.names import DEFAULT_TENANT
from jobservice.schedules.table import ScheduleTable
from jobservice.sdk.schedule import Schedule, ScheduleInfo, WaitingTick


class Schedules:
    """Schedules by name. A living daemon fires them."""

    def __init__(self, *, database: ClientDatabase, schema: str) -> None:
        self._database = database
        self._table = ScheduleTable(schema=schema)

    async def add(self, schedule: Schedule, *, paused: bool = False, replace: bool = False) -> ScheduleInfo:
        """A new schedule; `replace` changes one of this name, whose next date stays where its timing does.

        Raises InvalidSubmission for whatever a tick's submission would be refused for; NotLegal where the name is
        taken.
        """
        definition = schedule.definition()
        async with self._database.use() as connection:
            return await self._table.add(connection, definition, paused=paused, replace=replace)

    async def find(self, *, tenant: str | None = None) -> list[ScheduleInfo]:
        """All schedules, or those of a tenant, by name."""
        async with self._database.use() as connection:
            return await self._table.find(connection, tenant=tenant)

    async def get(self, name: str, *, tenant: str = DEFAULT_TENANT) -> ScheduleInfo:
        """One schedule as it stands. Raises UnknownSchedule."""
        async with self._database.use() as connection:
            return await self._table.get(connection, tenant, name)

    async def pause(self, name: str, *, tenant: str = DEFAULT_TENANT) -> None:
        """Fire nothing until `resume`; what would have fired meanwhile is not missed. Raises UnknownSchedule."""
        async with self._database.use() as connection:
            await self._table.pause(connection, tenant, name)

    async def resume(self, name: str, *, tenant: str = DEFAULT_TENANT) -> None:
        """Fire again, from the next date on. Raises UnknownSchedule; NotLegal where the configuration dropped it."""
        async with self._database.use() as connection:
            await self._table.resume(connection, tenant, name)

    async def remove(self, name: str, *, tenant: str = DEFAULT_TENANT) -> int:
        """Delete it; its jobs stay. How many of its ticks waited: they are gone.

        Raises UnknownSchedule; NotLegal for one of the configuration.
        """
        async with self._database.use() as connection:
            return await self._table.remove(connection, tenant, name)

    async def run_now(self, name: str, *, tenant: str = DEFAULT_TENANT) -> UUID | None:
        """A tick of this moment, beside those of its dates; the id of its job, or of its pipeline.

        None where it waits for a pipeline before it: `overlap` is `queue`. Raises UnknownSchedule; NotLegal where
        `overlap` is `skip` and the last job has not ended, and where too many ticks wait.
        """
        async with self._database.use() as connection:
            return await self._table.run_now(connection, tenant, name)

    async def waiting_ticks(self, name: str, *, tenant: str = DEFAULT_TENANT) -> list[WaitingTick]:
        """Ticks that wait for the pipeline of the one before, the next one first. Raises UnknownSchedule."""
        async with self._database.use() as connection:
            zone = ZoneInfo((await self._table.get(connection, tenant, name)).time_zone)
            ticks = await self._table.waiting(connection, tenant, name)
        return [replace(each, fire_date=each.fire_date.astimezone(zone)) for each in ticks]

    async def next_dates(self, name: str, count: int = 5, *, tenant: str = DEFAULT_TENANT) -> list[datetime]:
        """The next fire dates, in the schedule's time zone. Raises UnknownSchedule."""
        async with self._database.use() as connection:
            dates = await self._table.next_dates(connection, tenant, name, count)
            zone = ZoneInfo((await self._table.get(connection, tenant, name)).time_zone)
        return [date.astimezone(zone) for date in dates]
