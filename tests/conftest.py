"""Fixtures of the whole suite: a database and a broker prefix for each test, on servers shared by the session."""

import logging
import secrets
import signal
from collections.abc import Iterator

import pika
import pytest
import structlog

from jobservice.testing.backend import SERVICES, choose
from jobservice.testing.databases import Databases

# Whoever starts the tests in the background (`&` in a script) has them, and all that they start, ignore Ctrl-C.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

# The plugin is blocked in pyproject.toml and loaded here: as an entry point it would come before coverage begins.
pytest_plugins = ["jobservice.testing.fixtures"]


def pytest_report_header() -> str:
    return "servers: " + ", ".join(f"{service} {choose(service)}" for service in SERVICES)


@pytest.fixture(autouse=True)
def logging_as_it_was() -> Iterator[None]:
    """A test that sets logging up, or runs what does, leaves no level and no handler to the next one."""
    root, config = logging.getLogger(), structlog.get_config()
    handlers, level = list(root.handlers), root.level
    levels = {name: logging.getLogger(name).level for name in logging.Logger.manager.loggerDict}
    yield
    structlog.configure(**config)
    root.handlers = handlers
    root.setLevel(level)
    for name in logging.Logger.manager.loggerDict:
        logging.getLogger(name).setLevel(levels.get(name, logging.NOTSET))


@pytest.fixture
def database_url(jobservice_database_url: str) -> str:
    """A fresh database with the schema."""
    return jobservice_database_url


@pytest.fixture
def empty_database_url(jobservice_databases: Databases) -> Iterator[str]:
    """A fresh database without the schema."""
    url = jobservice_databases.create_empty()
    yield url
    jobservice_databases.drop(url)


@pytest.fixture(scope="session")
def amqp_url(jobservice_amqp_url: str) -> str:
    """The session's broker."""
    return jobservice_amqp_url


@pytest.fixture
def broker_prefix(amqp_url: str) -> Iterator[str]:
    """A prefix for exchanges and queues that no other test has; the shared ones of that prefix are deleted after."""
    prefix = f"t{secrets.token_hex(4)}"
    yield prefix
    connection = pika.BlockingConnection(pika.URLParameters(amqp_url))
    channel = connection.channel()
    for queue in ("submissions", "control", "rejected"):
        channel.queue_delete(f"{prefix}.{queue}")
    for exchange in ("events", "submit", "command"):
        channel.exchange_delete(f"{prefix}.{exchange}")
    connection.close()
