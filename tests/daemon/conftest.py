"""Fixtures of the daemon's tests: daemons here and in other processes, a foreign subscriber, a reader of the rows."""

import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path

import asyncpg
import pytest
from daemons import PACKAGES, Books, Daemons, Processes, Recorder
from databases import database_url, module_database_url
from outages import Outage
from step_scene import scene

from jobservice.broker.backoff import Backoff

__all__ = ["database_url", "module_database_url", "scene"]

sys.path.insert(0, str(PACKAGES))


@pytest.fixture(autouse=True)
def short_waits_for_servers(monkeypatch: pytest.MonkeyPatch) -> None:
    """A server that is back is found at once: the waits of daemons in this process are for production."""
    monkeypatch.setattr("jobservice.loop._LONGEST_DELAY", 0.2)
    monkeypatch.setattr("jobservice.daemon.daemon.RECONNECT_SECONDS", 0.1)
    monkeypatch.setattr("jobservice.broker.connection.Backoff", partial(Backoff, longest=0.2))


@pytest.fixture
async def books(database_url: str) -> AsyncIterator[Books]:
    connection = await asyncpg.connect(database_url)
    yield Books(connection)
    await connection.close()


@pytest.fixture
async def tables(books: Books, database_url: str, monkeypatch: pytest.MonkeyPatch) -> Books:
    """The tables of the trial jobs with steps."""
    from step_tables import StepTables  # of a package that is on the path by now

    tables = StepTables(books.connection)
    await tables.make(database_url, monkeypatch)
    return tables


@pytest.fixture
async def recorder(amqp_url: str, broker_prefix: str) -> AsyncIterator[Recorder]:
    recorder = Recorder()
    await recorder.open(amqp_url, broker_prefix)
    yield recorder
    await recorder.close()


@pytest.fixture
async def daemons(database_url: str, amqp_url: str, broker_prefix: str, tmp_path: Path) -> AsyncIterator[Daemons]:
    daemons = Daemons(database_url, amqp_url, broker_prefix, tmp_path)
    yield daemons
    await daemons.end()


@pytest.fixture
async def processes(database_url: str, amqp_url: str, broker_prefix: str, tmp_path: Path) -> AsyncIterator[Processes]:
    processes = Processes(database_url, amqp_url, broker_prefix, tmp_path)
    yield processes
    await processes.end()


@asynccontextmanager
async def before(daemons: Daemons, server: str) -> AsyncIterator[Outage]:
    """A proxy between the daemons and one of their servers."""
    outage = Outage(getattr(daemons, server))
    await outage.open()
    setattr(daemons, server, outage.url)
    try:
        yield outage
    finally:
        outage.back()  # or the daemons could not leave in good order
        await daemons.end()
        await outage.close()


@pytest.fixture
async def database(daemons: Daemons) -> AsyncIterator[Outage]:
    async with before(daemons, "database_url") as outage:
        yield outage


@pytest.fixture
async def broker(daemons: Daemons) -> AsyncIterator[Outage]:
    async with before(daemons, "amqp_url") as outage:
        yield outage
