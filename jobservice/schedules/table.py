"""Keeps the schedules: adds, changes, pauses, removes and finds them. Never fires one, but on a user's word.

Called by the client, and by a daemon at its start, for what its configuration says. Each call is a transaction.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import asyncpg

from jobservice.domain.cron import BadTiming
from jobservice.domain.errors import InvalidSubmission, NotLegal, UnknownSchedule
from jobservice.domain.schedule_definition import Definition
from jobservice.domain.schedules import WAITING_MAX, Overlap, Tick, first_date, timing_of
from jobservice.schedules.rows import columns_of, definition_of, schedule_of
from jobservice.schedules.ticks import Ticks
from jobservice.schedules.waiting import WaitingTicks
from jobservice.sdk.schedule import ScheduleInfo, WaitingTick
from jobservice.store.sql import load

_FILE = Path(__file__).with_name("schedules.sql")

FROM_CONFIG = "it is in the configuration file of a daemon: change it there"


@dataclass(frozen=True, slots=True)
class Configured:
    """What a daemon's configuration changed, as `tenant/name`. `refused`: with the reason; each tick would be."""

    added: list[str]
    changed: list[str]
    removed: list[str]
    taken: list[str]
    """Names that a user's schedule has: it stays as it is."""
    refused: dict[str, str]


class ScheduleTable:
    """The schedules of one schema."""

    def __init__(self, *, schema: str) -> None:
        self._sql = load(_FILE, schema)
        self._ticks = Ticks(schema=schema)
        self._waiting = WaitingTicks(schema=schema)

    async def add(
        self, connection: asyncpg.Connection, definition: Definition, *, paused: bool, replace: bool
    ) -> ScheduleInfo:
        """A new schedule of a user; `replace` changes one that is there. Raises InvalidSubmission, NotLegal."""
        wanted = definition.checked()
        async with connection.transaction():
            date = await self._first_date(connection, wanted)
            await self._ticks.rehearse(connection, wanted, Tick.of(date))
            if not await self._insert(connection, wanted, date, source="user", paused=paused):
                row = await self._lock(connection, wanted.tenant, wanted.name)
                if row["source"] == "config":
                    raise NotLegal(wanted.name, "change", "from the configuration", FROM_CONFIG, kind="schedule")
                if not replace:
                    raise NotLegal(wanted.name, "add", "there", "replace it, or remove it first", kind="schedule")
                await self._change(connection, wanted, row)
            await self._sql.announce(connection, date=date)
        return await self.get(connection, wanted.tenant, wanted.name)

    async def configure(
        self, connection: asyncpg.Connection, definitions: Sequence[Definition], *, queues: Sequence[str]
    ) -> Configured:
        """Makes the schedules of daemons that serve these queues what their configuration says."""
        found = Configured([], [], [], [], {})
        of_queues = ",".join(sorted(queues))
        wanted = sorted((each.checked() for each in definitions), key=lambda each: (each.tenant, each.name))
        async with connection.transaction():
            for each in wanted:
                await self._configure_one(connection, each, of_queues, found)
            removed = self._sql.pause_removed(
                connection,
                config_queues=of_queues,
                tenants=[each.tenant for each in wanted],
                names=[each.name for each in wanted],
            )
            found.removed.extend([f"{row['tenant']}/{row['name']}" async for row in removed])
        return found

    async def pause(self, connection: asyncpg.Connection, tenant: str, name: str) -> None:
        """No tick fires or is missed until `resume`. Raises UnknownSchedule."""
        async with connection.transaction():
            row = await self._lock(connection, tenant, name)
            if not row["paused"]:
                await self._sql.set_paused(connection, tenant=tenant, name=name, reason="user", next_date=None)

    async def resume(self, connection: asyncpg.Connection, tenant: str, name: str) -> None:
        """Due again from the next fire date on. Raises UnknownSchedule; NotLegal where the configuration dropped it."""
        async with connection.transaction():
            row = await self._lock(connection, tenant, name)
            if row["pause_reason"] == "removed":
                raise NotLegal(name, "resume", "removed from the configuration", "add it anew", kind="schedule")
            if row["paused"]:
                await self._resume(connection, row)

    async def remove(self, connection: asyncpg.Connection, tenant: str, name: str) -> int:
        """Deletes a schedule; its jobs stay. How many ticks of it waited: they are gone.

        Raises UnknownSchedule; NotLegal for one that the configuration names.
        """
        async with connection.transaction():
            row = await self._lock(connection, tenant, name)
            if row["source"] == "config" and row["pause_reason"] != "removed":
                raise NotLegal(name, "remove", "from the configuration", FROM_CONFIG, kind="schedule")
            return int(await self._sql.remove(connection, tenant=tenant, name=name))

    async def run_now(
        self, connection: asyncpg.Connection, tenant: str, name: str, *, key: str | None = None
    ) -> UUID | None:
        """Submits a tick of this moment, beside those of its fire dates; the job's id, or the pipeline's.

        None where it waits for the pipelines of others. Called again with the same `key` it submits nothing, and
        gives the same id.
        Raises UnknownSchedule, InvalidSubmission; NotLegal where `overlap` is skip and the last job has not ended, and
        where too many wait.
        """
        async with connection.transaction():
            row = await self._lock(connection, tenant, name)
            moment = await self._sql.moment(
                connection, job_ids=[row["last_job_id"]], pipeline_ids=[row["last_pipeline_id"]]
            )
            definition, busy = definition_of(row), moment["busy"][0]
            if key is not None and (before := await self._ticks.submitted(connection, definition, key)) is not None:
                return before
            if busy and definition.overlap is Overlap.SKIP:
                raise NotLegal(
                    name, "run", "running", "its last job has not ended, and overlap is skip", kind="schedule"
                )
            tick = Tick(moment["now"], key or f"run:{uuid4()}")
            if definition.policy.one_by_one and (busy or row["waiting"] > 0):
                await self._let_wait(connection, row, tick)
                return None
            last = await self._ticks.submit(connection, definition, [tick])
            await self._sql.ran_now(
                connection,
                tenant=tenant,
                name=name,
                fire_date=moment["now"],
                job_id=last if definition.job is not None else None,
                pipeline_id=last if definition.job is None else None,
            )
        return last

    async def _let_wait(self, connection: asyncpg.Connection, row: Any, tick: Tick) -> None:
        schedule = row["tenant"], row["name"]
        if await self._waiting.waits(connection, schedule, tick.key):
            return
        if row["waiting"] >= WAITING_MAX:
            raise NotLegal(row["name"], "run", "late", f"{row['waiting']} of its ticks wait", kind="schedule")
        await self._waiting.write(connection, schedules=[schedule], begin=[(schedule, tick)])

    async def waiting(self, connection: asyncpg.Connection, tenant: str, name: str) -> list[WaitingTick]:
        """Its ticks that wait, in the order of their turns. Raises UnknownSchedule."""
        await self.get(connection, tenant, name)
        return await self._waiting.listed(connection, (tenant, name))

    async def get(self, connection: asyncpg.Connection, tenant: str, name: str) -> ScheduleInfo:
        """One schedule as it stands. Raises UnknownSchedule."""
        found = await self.find(connection, tenant=tenant, name=name)
        if not found:
            raise UnknownSchedule(name, tenant)
        return found[0]

    async def find(
        self, connection: asyncpg.Connection, *, tenant: str | None = None, name: str | None = None
    ) -> list[ScheduleInfo]:
        """Schedules by tenant and name; None is any."""
        return [schedule_of(row) async for row in self._sql.find(connection, tenant=tenant, name=name)]

    async def next_dates(self, connection: asyncpg.Connection, tenant: str, name: str, count: int) -> list[datetime]:
        """The next fire dates, in UTC; from now on for one that is paused. Raises UnknownSchedule."""
        row = await self.get(connection, tenant, name)
        try:
            timing = timing_of(cron=row.cron, every=row.every, zone=row.time_zone)
        except BadTiming as error:
            raise InvalidSubmission(str(error)) from None
        date = row.next_fire_date
        if row.paused:
            now = await self._sql.now(connection)
            date = first_date(timing, now) if date is None or date < now else date
        dates: list[datetime] = []
        while date is not None and len(dates) < count:
            dates.append(date)
            date = timing.next_after(date)
        return dates

    async def _configure_one(
        self, connection: asyncpg.Connection, wanted: Definition, queues: str, found: Configured
    ) -> None:
        label = f"{wanted.tenant}/{wanted.name}"
        date = await self._first_date(connection, wanted)
        try:
            await self._ticks.rehearse(connection, wanted, Tick.of(date))
        except InvalidSubmission as error:
            found.refused[label] = str(error)
        if await self._insert(connection, wanted, date, source="config", queues=queues):
            found.added.append(label)
        else:
            row = await self._lock(connection, wanted.tenant, wanted.name)
            if row["source"] != "config":
                found.taken.append(label)
                return
            if definition_of(row) != wanted or row["config_queues"] != queues:
                await self._change(connection, wanted, row, queues=queues)
                found.changed.append(label)
            if row["pause_reason"] == "removed":
                await self._resume(connection, row, wanted)
                found.added.append(label)
        await self._sql.announce(connection, date=date)

    async def _first_date(self, connection: asyncpg.Connection, definition: Definition) -> datetime:
        date = first_date(definition.timing, await self._sql.now(connection))
        if date is None:
            raise InvalidSubmission("cron: there is no such date in the next 50 years", field="cron")
        return date

    async def _insert(
        self,
        connection: asyncpg.Connection,
        definition: Definition,
        date: datetime,
        *,
        source: str,
        queues: str | None = None,
        paused: bool = False,
    ) -> bool:
        """False where the name is taken."""
        inserted = await self._sql.insert(
            connection, **columns_of(definition), source=source, config_queues=queues, paused=paused, next_date=date
        )
        return inserted is not None

    async def _change(
        self, connection: asyncpg.Connection, wanted: Definition, row: Any, *, queues: str | None = None
    ) -> None:
        """A timing that is the same keeps its next date, however late: a restart misses nothing."""
        before = definition_of(row)
        same = (before.cron, before.every, before.time_zone) == (wanted.cron, wanted.every, wanted.time_zone)
        date = row["next_fire_date"] if same else await self._first_date(connection, wanted)
        await self._sql.change(connection, **columns_of(wanted), config_queues=queues, next_date=date)

    async def _resume(self, connection: asyncpg.Connection, row: Any, wanted: Definition | None = None) -> None:
        definition = wanted or definition_of(row)
        try:
            date = await self._first_date(connection, definition)
        except BadTiming as error:
            raise InvalidSubmission(str(error)) from None
        await self._sql.set_paused(
            connection, tenant=definition.tenant, name=definition.name, reason=None, next_date=date
        )
        await self._sql.announce(connection, date=date)

    async def _lock(self, connection: asyncpg.Connection, tenant: str, name: str) -> Any:
        row = await self._sql.lock(connection, tenant=tenant, name=name)
        if row is None:
            raise UnknownSchedule(name, tenant)
        return row
