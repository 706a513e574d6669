"""A database of the test's own, connections to it, and its schedules."""

from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import AsyncExitStack

import asyncpg
import pytest
from factory import empty_tables, end_other_sessions
from scheduled import Schedules

from jobservice.schedules.firing import Firing
from jobservice.schedules.table import ScheduleTable
from jobservice.testing.databases import Databases

Connect = Callable[[], Awaitable[asyncpg.Connection]]


@pytest.fixture(scope="module")
def module_database_url(jobservice_databases: Databases) -> Iterator[str]:
    url = jobservice_databases.create()
    yield url
    jobservice_databases.drop(url)


@pytest.fixture
async def database_url(module_database_url: str) -> str:
    """One database for each module here, emptied for each test."""
    connection = await asyncpg.connect(module_database_url)
    await end_other_sessions(connection)
    await empty_tables(connection)
    await connection.close()
    return module_database_url


@pytest.fixture
async def connect(database_url: str) -> AsyncIterator[Connect]:
    async with AsyncExitStack() as stack:

        async def opened() -> asyncpg.Connection:
            connection = await asyncpg.connect(database_url)
            stack.callback(connection.terminate)
            return connection

        yield opened


@pytest.fixture
async def schedules(connect: Connect) -> Schedules:
    return Schedules(await connect(), ScheduleTable(schema="jobservice"), Firing(schema="jobservice"))
