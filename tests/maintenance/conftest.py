"""A database of the file's own, and a daemon's session for its upkeep."""

from collections.abc import AsyncIterator

import pytest
from databases import connect, connection, database_url, module_database_url

from jobservice.store.session import Session

__all__ = ["connect", "connection", "database_url", "module_database_url"]


@pytest.fixture
async def session(database_url: str) -> AsyncIterator[Session]:
    session = Session(url=database_url, name="upkeep")
    yield session
    await session.close()
