"""The health server: what is asked over HTTP is what the daemon says, and the port is given back."""

from collections.abc import AsyncIterator, Callable

import aiohttp
import pytest

from jobservice.domain.errors import ConfigurationError
from jobservice.web.health import HealthServer

HOST = "127.0.0.1"


@pytest.fixture
async def serve() -> AsyncIterator[Callable[..., HealthServer]]:
    servers: list[HealthServer] = []

    def make(*, port: int = 0, ready: bool = True, facts: dict | None = None) -> HealthServer:
        said = facts or {}
        servers.append(HealthServer(HOST, port, live=lambda: said, ready=lambda: (ready, said)))
        return servers[-1]

    yield make
    for server in servers:
        await server.stop()


async def ask(port: int, path: str) -> tuple[int, dict]:
    async with aiohttp.ClientSession() as session, session.get(f"http://{HOST}:{port}{path}") as response:
        return response.status, await response.json()


async def test_a_daemon_that_is_ready_answers_200_with_its_facts(serve: Callable[..., HealthServer]) -> None:
    port = await serve(ready=True, facts={"loop_lag": 0.002, "rejected": 3}).start()

    assert await ask(port, "/readyz") == (200, {"ok": True, "loop_lag": 0.002, "rejected": 3})


async def test_a_daemon_without_database_is_alive_but_not_ready(serve: Callable[..., HealthServer]) -> None:
    port = await serve(ready=False, facts={"database": "away"}).start()

    assert (await ask(port, "/livez"))[0] == 200
    assert await ask(port, "/readyz") == (503, {"ok": False, "database": "away"})


async def test_the_facts_are_those_of_the_moment_of_asking(serve: Callable[..., HealthServer]) -> None:
    facts = {"oldest_queued": 1}
    port = await serve(facts=facts).start()

    facts["oldest_queued"] = 2

    assert (await ask(port, "/livez"))[1]["oldest_queued"] == 2


async def test_a_port_that_is_taken_is_refused_and_named(serve: Callable[..., HealthServer]) -> None:
    port = await serve().start()

    with pytest.raises(ConfigurationError, match=f"daemon.http_port {port}"):
        await serve(port=port).start()


async def test_after_the_stop_the_port_is_free_again(serve: Callable[..., HealthServer]) -> None:
    first = serve()
    port = await first.start()

    await first.stop()
    await first.stop()

    assert await serve(port=port).start() == port
