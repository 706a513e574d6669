"""A database of the file's own, a daemon in its books, that daemon's status writer, and a scene for the claim."""

import asyncio
from collections.abc import Iterator
from uuid import UUID

import asyncpg
import pytest
from databases import connect, connection, database_url, module_database_url
from factory import make_daemon
from fair_scene import Scene
from holding import hand
from impatience import replace_claim
from writers import writer_of

__all__ = ["connect", "connection", "database_url", "hand", "module_database_url", "writer_of"]


@pytest.fixture
async def daemon(connection: asyncpg.Connection) -> UUID:
    """A living daemon of queue `default`."""
    return await make_daemon(connection)


@pytest.fixture(scope="module", params=[False, True], ids=["usual", "bounds move"])
def scene(module_database_url: str, request: pytest.FixtureRequest) -> Iterator[tuple[asyncio.Runner, Scene]]:
    """Hypothesis calls the test many times in one loop of its own; the claim as it is, and as under an old snapshot."""
    with asyncio.Runner(loop_factory=asyncio.new_event_loop) as runner:
        connections = [runner.run(asyncpg.connect(module_database_url)) for _ in range(2)]
        runner.run(replace_claim(connections[0], impatient=request.param))
        yield runner, Scene(*connections)
        for connection in connections:
            runner.run(connection.close())
