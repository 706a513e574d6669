"""A database of the file's own; a crew that claims and ends jobs as a daemon does."""

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack

import pytest
from crew import Crew
from databases import Connect, connect, connection, database_url, module_database_url

__all__ = ["connect", "connection", "database_url", "module_database_url"]

Crews = Callable[[], Awaitable[Crew]]


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
