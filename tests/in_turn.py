"""A schedule whose pipelines follow each other, one each full hour from noon on; a conftest imports the fixture."""

import json
from datetime import UTC, datetime, timedelta

import asyncpg
import pytest
from databases import Connect
from scheduled import Clock, Schedules

from jobservice.schedules.firing import Fired

HOUR = timedelta(hours=1)
NOON = datetime(2026, 5, 1, 12, tzinfo=UTC)
STAGES = [{"job_class": "Nap", "jobs": [{"parameters": {"hour": "{fire_date:%H}"}}]}]
BOOKS = {"name": "books", "stages": STAGES}


@pytest.fixture
async def hourly(schedules: Schedules, clock: Clock, on_the_clock: Connect) -> Schedules:
    """On a clock that shows noon: pipelines each full hour, one by one."""
    schedules.connection = await on_the_clock()
    await clock.shows(NOON)
    await schedules.add(pipeline=BOOKS, cron="0 * * * *", overlap="queue", catch_up="all")
    return schedules


async def at(clock: Clock, schedules: Schedules, hour: float) -> Fired:
    """What a look so many hours after noon does."""
    await clock.shows(NOON + hour * HOUR)
    return await schedules.fire()


async def fired_hours(connection: asyncpg.Connection) -> list[int]:
    """Of the pipelines, in the order of their making."""
    rows = await connection.fetch("SELECT user_metadata FROM jobservice.pipeline ORDER BY created_date, id")
    dates = [datetime.fromisoformat(json.loads(row["user_metadata"])["fire_date"]) for row in rows]
    return [round((date - NOON) / HOUR) for date in dates]


async def waiting_hours(schedules: Schedules) -> list[int]:
    ticks = await schedules.table.waiting(schedules.connection, "acme", "nightly")
    return [round((tick.fire_date - NOON) / HOUR) for tick in ticks]


async def end(connection: asyncpg.Connection, how: str = "SUCCEEDED") -> None:
    """All pipelines that live end so."""
    if how == "stopped":
        await connection.execute(
            """SELECT FROM jobservice.command_pipelines(
                 ARRAY(SELECT id FROM jobservice.pipeline WHERE stop_date IS NULL), 'stop')"""
        )
    elif how == "gone":
        await connection.execute("DELETE FROM jobservice.pipeline")
    else:
        await connection.execute(
            "UPDATE jobservice.pipeline SET status = $1, stop_date = now() WHERE stop_date IS NULL", how
        )
