"""Schedules in a database, and a clock that is put forward by putting their dates back."""

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

import asyncpg

from jobservice.domain.schedule_definition import Definition
from jobservice.domain.schedules import CatchUp, Overlap
from jobservice.schedules.firing import Fired, Firing
from jobservice.schedules.table import ScheduleTable
from jobservice.sdk.schedule import ScheduleInfo

JOB = {"job_class": "Nap", "parameters": {"day": "{fire_date:%Y-%m-%d}"}}


def define(name: str = "nightly", **fields: Any) -> Definition:
    """A schedule of each hour, or what is given instead."""
    timing = {} if fields.keys() & {"cron", "every"} else {"every": 3600}
    what = {} if "pipeline" in fields else {"job": JOB}
    return Definition(**{"tenant": "acme", "name": name, **timing, **what, **fields})


@dataclass
class Schedules:
    """The table, and who fires."""

    connection: asyncpg.Connection
    table: ScheduleTable
    firing: Firing

    async def add(
        self,
        name: str = "nightly",
        *,
        catch_up: str = "once",
        overlap: str = "allow",
        paused: bool = False,
        replace: bool = False,
        **fields: Any,
    ) -> ScheduleInfo:
        definition = define(name, catch_up=CatchUp(catch_up), overlap=Overlap(overlap), **fields)
        return await self.table.add(self.connection, definition, paused=paused, replace=replace)

    async def outage(self, *, hours: float, name: str = "nightly") -> datetime:
        """Nobody was there: the next fire date is so long ago. Returns it."""
        date: datetime = await self.connection.fetchval(
            """UPDATE jobservice.schedule SET next_fire_date = date_trunc('second', now()) - $2::interval
               WHERE name = $1 RETURNING next_fire_date""", name, timedelta(hours=hours),
        )  # fmt: skip
        return date

    async def due(self, name: str = "nightly") -> datetime:
        """Its fire date comes now."""
        return await self.outage(hours=0, name=name)

    async def fire(self) -> Fired:
        return await self.firing.fire_due(self.connection)

    async def get(self, name: str = "nightly") -> ScheduleInfo:
        return await self.table.get(self.connection, "acme", name)

    async def jobs(self) -> list[asyncpg.Record]:
        return await self.connection.fetch("SELECT * FROM jobservice.job_info ORDER BY number")

    async def end_jobs(self) -> None:
        await self.connection.execute(
            "UPDATE jobservice.job_info SET status = 'ABORTED', stop_date = now(), held = NULL"
        )


class Clock:
    """What `now()` and `clock_timestamp()` are for sessions that look for functions here before anywhere else."""

    def __init__(self, connection: asyncpg.Connection) -> None:
        self._connection = connection

    async def make(self) -> None:
        await self._connection.execute("""
            CREATE SCHEMA IF NOT EXISTS fake;
            CREATE TABLE IF NOT EXISTS fake.clock (moment timestamptz);
            CREATE OR REPLACE FUNCTION fake.now() RETURNS timestamptz LANGUAGE sql STABLE
              AS 'SELECT moment FROM fake.clock';
            CREATE OR REPLACE FUNCTION fake.clock_timestamp() RETURNS timestamptz LANGUAGE sql
              AS 'SELECT moment FROM fake.clock';
            DELETE FROM fake.clock; INSERT INTO fake.clock VALUES ('2000-01-01Z')""")

    async def shows(self, moment: datetime) -> None:
        await self._connection.execute("UPDATE fake.clock SET moment = $1", moment)
