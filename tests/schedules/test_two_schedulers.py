"""Two who fire, on a clock that the test moves, over the nights in which clocks are put forward and back."""

import asyncio
import json
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta

import asyncpg
import pytest
from databases import Connect
from scheduled import Schedules

from jobservice.schedules.firing import Firing


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


@pytest.fixture
async def clock(schedules: Schedules) -> Clock:
    made = Clock(schedules.connection)
    await made.make()
    return made


@pytest.fixture
async def on_the_clock(connect: Connect, clock: Clock) -> AsyncIterator[Connect]:
    """Connections of programs that live by that clock."""

    async def opened() -> asyncpg.Connection:
        connection = await connect()
        await connection.execute("SET search_path = fake, pg_catalog")
        return connection

    yield opened


NIGHTS = {
    "spring": (datetime(2026, 3, 28, 12, tzinfo=UTC), ["2026-03-29T03:00:00+02:00"], 24 - 1),
    "autumn": (datetime(2026, 10, 24, 12, tzinfo=UTC), ["2026-10-25T02:30:00+02:00"], 24 + 1),
}


@pytest.mark.parametrize("night", NIGHTS)
async def test_two_schedulers_fire_each_tick_of_such_a_night_once_also_when_one_is_killed(
    schedules: Schedules, clock: Clock, on_the_clock: Connect, night: str
) -> None:
    begin, nightly, hours = NIGHTS[night]
    firing = Firing(schema="jobservice")
    programs = [await on_the_clock(), await on_the_clock()]
    await clock.shows(begin)
    schedules.connection = programs[0]
    await schedules.add("nightly", cron="30 2 * * *", time_zone="Europe/Berlin")
    await schedules.add("hourly", cron="15 * * * *", time_zone="Europe/Berlin")
    day = timedelta(hours=hours)  # as long as the day of that night is, from noon to noon

    moment = begin
    while moment < begin + day:
        moment += timedelta(minutes=5)
        await clock.shows(moment)
        await asyncio.gather(*(firing.fire_due(program) for program in programs))
        if moment == begin + timedelta(hours=13):
            programs[1].terminate()
            programs[1] = await on_the_clock()

    ticks = [json.loads(job["user_metadata"]) for job in await schedules.jobs()]
    found = {name: [tick["fire_date"] for tick in ticks if tick["schedule"] == name] for name in ("nightly", "hourly")}
    assert found["nightly"] == nightly
    assert len(set(found["hourly"])) == len(found["hourly"]) == hours
    row = await schedules.get("hourly")
    assert (row.fired, row.missed) == (hours, 0)
