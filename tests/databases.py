"""One database for each test file, emptied for each test, and connections to it; a conftest imports what it gives.

Hundreds of short tests need no database each: to make and drop one costs more than most of them do.
"""

from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import AsyncExitStack

import asyncpg
import pytest
from factory import empty_tables, end_other_sessions

from jobservice.testing.databases import Databases

Connect = Callable[[], Awaitable[asyncpg.Connection]]


@pytest.fixture(scope="module")
def module_database_url(jobservice_databases: Databases) -> Iterator[str]:
    url = jobservice_databases.create()
    yield url
    jobservice_databases.drop(url)


@pytest.fixture
async def database_url(module_database_url: str) -> str:
    """The file's database without a row, and without a session that an earlier test has left."""
    connection = await asyncpg.connect(module_database_url)
    await end_other_sessions(connection)
    await empty_tables(connection)
    await connection.close()
    return module_database_url


@pytest.fixture
async def connect(database_url: str) -> AsyncIterator[Connect]:
    """Opens one more connection to the test's database; all are closed afterwards."""
    async with AsyncExitStack() as stack:

        async def opened() -> asyncpg.Connection:
            connection = await asyncpg.connect(database_url)
            stack.callback(connection.terminate)
            return connection

        yield opened


@pytest.fixture
async def connection(connect: Connect) -> asyncpg.Connection:
    """Looks into the test's database, past whatever stands before it."""
    return await connect()
