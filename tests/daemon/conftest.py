"""Fixtures of the daemon's tests: daemons here and in other processes, a foreign subscriber, a reader of the rows."""

import sys
from collections.abc import AsyncIterator
from pathlib import Path

import asyncpg
import pytest
from daemons import PACKAGES, Books, Daemons, Processes, Recorder

sys.path.insert(0, str(PACKAGES))


@pytest.fixture
async def books(database_url: str) -> AsyncIterator[Books]:
    connection = await asyncpg.connect(database_url)
    yield Books(connection)
    await connection.close()


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
