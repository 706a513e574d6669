"""The pytest plugin for users' own tests: real servers, a fresh database for each test.

Loaded by pytest in every environment that has the package installed, so it imports nothing until a fixture is used.
JOBSERVICE_TEST_BACKEND and its companions choose the servers: see `jobservice.testing.backend`.
"""

from collections.abc import Iterator
from typing import Any

import pytest


@pytest.fixture(scope="session")
def jobservice_servers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """The session's servers (`jobservice.testing.backend.SharedServers`), one of each for all xdist workers."""
    import os

    from jobservice.testing.backend import SharedServers

    directory = tmp_path_factory.getbasetemp()
    servers = SharedServers(directory.parent if "PYTEST_XDIST_WORKER" in os.environ else directory)
    yield servers
    servers.close()


@pytest.fixture(scope="session")
def jobservice_databases(jobservice_servers: Any) -> Iterator[Any]:
    """The maker of test databases (`jobservice.testing.databases.Databases`) on the session's PostgreSQL."""
    from jobservice.testing.databases import Databases

    databases = Databases(jobservice_servers.url("database"))
    yield databases
    databases.close()


@pytest.fixture
def jobservice_database_url(jobservice_databases: Any) -> Iterator[str]:
    """The URL of a database of this test's own, with JobService's schema; dropped afterwards."""
    url = jobservice_databases.create()
    yield url
    jobservice_databases.drop(url)


@pytest.fixture(scope="session")
def jobservice_amqp_url(jobservice_servers: Any) -> str:
    """The URL of the session's RabbitMQ; give each test a `[broker] prefix` of its own."""
    return str(jobservice_servers.url("broker"))
