"""One database for each module, emptied for each test; a crew that claims and ends jobs as a daemon does."""

from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import AsyncExitStack

import asyncpg
import pytest
from crew import Crew
from factory import empty_tables, end_other_sessions

from jobservice.testing.databases import Databases


@pytest.fixture(scope="module")
def module_database_url(jobservice_databases: Databases) -> Iterator[str]:
    url = jobservice_databases.create()
    yield url
    jobservice_databases.drop(url)


@pytest.fixture
async def database_url(module_database_url: str) -> str:
    connection = await asyncpg.connect(module_database_url)
    await end_other_sessions(connection)
    await empty_tables(connection)
    await connection.close()
    return module_database_url


Connect = Callable[[], Awaitable[asyncpg.Connection]]
Crews = Callable[[], Awaitable[Crew]]


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
    return await connect()


@pytest.fixture
async def crews(database_url: str, connect: Connect) -> AsyncIterator[Crews]:
    """Daemons without a pool, each with sessions of its own: what they claim, the test ends."""
    async with AsyncExitStack() as stack:

        async def made() -> Crew:
            crew = await Crew.hired(await connect(), database_url)
            stack.push_async_callback(crew.close)
            return crew

        yield made


@pytest.fixture
async def crew(crews: Crews) -> Crew:
    return await crews()
