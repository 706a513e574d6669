"""A database of the file's own, connections to it, and its schedules."""

from collections.abc import AsyncIterator

import asyncpg
import pytest
from databases import Connect, connect, database_url, module_database_url
from in_turn import hourly
from scheduled import Clock, Schedules

from jobservice.schedules.firing import Firing
from jobservice.schedules.table import ScheduleTable

__all__ = ["connect", "database_url", "hourly", "module_database_url"]


@pytest.fixture
async def schedules(connect: Connect) -> Schedules:
    return Schedules(await connect(), ScheduleTable(schema="jobservice"), Firing(schema="jobservice"))


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
