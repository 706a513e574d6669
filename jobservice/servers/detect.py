"""Which servers a command works with: those named by the user, or private ones. Each service is decided by itself.

A URL that was given is used or is an error; nothing falls through to another server, and no server is ever taken
because it happens to listen on a default port.
"""

import os
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

import aiormq
import asyncpg

from jobservice.domain.errors import BrokerUnavailable, ConfigurationError, DatabaseUnavailable
from jobservice.servers.aside import run_aside
from jobservice.servers.containers import container_broker, container_database
from jobservice.servers.stack import PrivateStack

_ANSWER_TIMEOUT = 10.0


@dataclass(frozen=True, slots=True)
class Servers:
    """Where the two servers are; `stack` holds the private ones, when there are any."""

    database_url: str
    amqp_url: str
    stack: PrivateStack | None


@contextmanager
def servers(
    *,
    database_url: str | None = None,
    amqp_url: str | None = None,
    directory: Path | None = None,
    keep: bool = False,
    announce: Callable[[str], None],
) -> Iterator[Servers]:
    """Give the servers to use, announcing one line for each; private ones stop with the block.

    URLs default to JOBSERVICE_DATABASE_URL and JOBSERVICE_AMQP_URL. What is not given is private: child processes, or
    containers when JOBSERVICE_STACK=docker. Call it from the main thread. Raises DatabaseUnavailable or
    BrokerUnavailable when a given server does not answer, ServerStartError when a private one cannot be had.
    """
    database = database_url or os.environ.get("JOBSERVICE_DATABASE_URL")
    broker = amqp_url or os.environ.get("JOBSERVICE_AMQP_URL")
    if database:
        check_database(database)
        announce(f"database: {_place(database)}, as given")
    if broker:
        check_broker(broker)
        announce(f"broker: {_place(broker)}, as given")
    with ExitStack() as held:
        if _in_containers():
            if not database:
                database = held.enter_context(container_database())
                announce(f"database: PostgreSQL in a container, on {_place(database)}")
            if not broker:
                broker = held.enter_context(container_broker())
                announce(f"broker: RabbitMQ in a container, on {_place(broker)}")
        stack = None
        if not database or not broker:
            stack = held.enter_context(
                PrivateStack(directory, keep, postgres=not database, rabbitmq=not broker, announce=announce)
            )
            for line in stack.describe():
                announce(line)
        yield Servers(
            database_url=database or (stack.database_url if stack else ""),
            amqp_url=broker or (stack.amqp_url if stack else ""),
            stack=stack,
        )


def check_database(url: str) -> None:
    """Return when a session can be opened. Raises DatabaseUnavailable."""

    async def connect() -> None:
        connection = await asyncpg.connect(url, timeout=_ANSWER_TIMEOUT)
        await connection.close()

    try:
        run_aside(connect())
    except (OSError, ValueError, asyncpg.PostgresError, asyncpg.InterfaceError) as error:
        raise DatabaseUnavailable(f"no session on the database at {_place(url)}: {error or 'no answer'}") from error


def check_broker(url: str) -> None:
    """Return when a connection can be opened. Raises BrokerUnavailable."""

    async def connect() -> None:
        connection = await aiormq.connect(url)
        await connection.close()

    try:
        run_aside(connect())
    except (OSError, ValueError, aiormq.AMQPError) as error:
        raise BrokerUnavailable(f"no connection to the broker at {_place(url)}: {error or 'no answer'}") from error


def _in_containers() -> bool:
    wanted = os.environ.get("JOBSERVICE_STACK", "local")
    if wanted not in {"local", "docker"}:
        raise ConfigurationError(f"JOBSERVICE_STACK={wanted}: either local or docker")
    return wanted == "docker"


def _place(url: str) -> str:
    """The URL's server without user and password."""
    parts = urlsplit(url)
    return f"{parts.hostname or 'the local socket'}{f':{parts.port}' if parts.port else ''}"
