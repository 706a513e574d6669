"""Which servers a test session uses, and starting each at most once for all its worker processes.

JOBSERVICE_TEST_DATABASE_URL and JOBSERVICE_TEST_AMQP_URL supply running servers. JOBSERVICE_TEST_BACKEND forces a way:
`url`, `docker` or `local`; a forced way that is not possible fails. `auto`, the default: a URL that is given, else
containers where an engine answers and has the images, else private child processes, else containers to be pulled.
"""

import fcntl
import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import IO, Literal

from jobservice.domain.errors import ConfigurationError, ServerStartError, UnavailableError
from jobservice.servers import containers
from jobservice.servers.account import server_account
from jobservice.servers.detect import check_broker, check_database
from jobservice.servers.postgres_binaries import find_postgres
from jobservice.servers.rabbitmq_installation import find_rabbitmq
from jobservice.servers.stack import PrivateStack

Service = Literal["database", "broker"]
Way = Literal["url", "docker", "local"]
SERVICES: tuple[Service, ...] = ("database", "broker")
_VARIABLES: dict[Service, str] = {
    "database": "JOBSERVICE_TEST_DATABASE_URL",
    "broker": "JOBSERVICE_TEST_AMQP_URL",
}


def choose(service: Service) -> Way:
    """Decide how this service is supplied. Raises ConfigurationError for a forced way that cannot be."""
    forced = os.environ.get("JOBSERVICE_TEST_BACKEND", "auto")
    given = os.environ.get(_VARIABLES[service])
    match forced:
        case "url":
            if not given:
                raise ConfigurationError(f"JOBSERVICE_TEST_BACKEND=url, but {_VARIABLES[service]} is not set")
            return "url"
        case "docker":
            if not containers.engine_answers():
                raise ConfigurationError("JOBSERVICE_TEST_BACKEND=docker, but no container engine answers")
            return "docker"
        case "local":
            return "local"
        case "auto":
            return "url" if given else _found(service)
        case _:
            raise ConfigurationError(f"JOBSERVICE_TEST_BACKEND={forced}: one of url, docker, local, auto")


def _found(service: Service) -> Way:
    if containers.images_present():
        return "docker"
    if not _local_possible(service) and containers.engine_answers():
        return "docker"
    return "local"


def _local_possible(service: Service) -> bool:
    try:
        if service == "broker":
            return find_rabbitmq() is not None or shutil.which("apt-get") is not None
        find_postgres(server_account())
    except ServerStartError:
        return False
    return True


class SharedServers:
    """The servers of one test session. Several processes may hold one for the same `directory`: they share servers.

    Whoever needs a server first starts it and, at its own end, waits for the others to finish before it stops it.
    """

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._urls: dict[Service, str] = {}
        self._uses: dict[Service, IO[str]] = {}
        self._started: dict[Service, AbstractContextManager[str]] = {}

    def url(self, service: Service) -> str:
        """The server's URL; the first call of all processes starts it."""
        if service not in self._urls:
            with self._deciding(service):
                self._urls[service] = self._running(service) or self._start(service)
                self._uses[service] = self._lock(service, "users", fcntl.LOCK_SH)
        return self._urls[service]

    def close(self) -> None:
        """Give the servers up; stop those that this process started, once nobody uses them."""
        for service in self._started:
            with self._deciding(service):
                self._record(service).unlink(missing_ok=True)
        for use in self._uses.values():  # all of them before waiting for any: two starters may wait for each other
            use.close()
        for service, server in self._started.items():
            with self._lock(service, "users", fcntl.LOCK_EX):
                server.__exit__(None, None, None)
        self._urls, self._uses, self._started = {}, {}, {}

    def _running(self, service: Service) -> str | None:
        """What another process has started, if it still answers."""
        record = self._record(service)
        if not record.exists():
            return None
        url = record.read_text()
        try:
            _CHECKS[service](url)
        except UnavailableError:
            return None
        return url

    def _start(self, service: Service) -> str:
        server = _SUPPLIES[service, choose(service)]()
        url = server.__enter__()
        self._started[service] = server
        self._record(service).touch(mode=0o600)
        self._record(service).write_text(url)
        return url

    def _record(self, service: Service) -> Path:
        return self._directory / f"jobservice-{service}.url"

    @contextmanager
    def _deciding(self, service: Service) -> Iterator[None]:
        with self._lock(service, "lock", fcntl.LOCK_EX):
            yield

    def _lock(self, service: Service, kind: str, mode: int) -> IO[str]:
        file = (self._directory / f"jobservice-{service}.{kind}").open("w")
        fcntl.flock(file, mode)
        return file


@contextmanager
def _given(service: Service) -> Iterator[str]:
    url = os.environ[_VARIABLES[service]]
    _CHECKS[service](url)
    yield url


@contextmanager
def _private(service: Service) -> Iterator[str]:
    with PrivateStack(postgres=service == "database", rabbitmq=service == "broker") as stack:
        yield stack.database_url if service == "database" else stack.amqp_url


_CHECKS: dict[Service, Callable[[str], None]] = {"database": check_database, "broker": check_broker}
_SUPPLIES: dict[tuple[Service, Way], Callable[[], AbstractContextManager[str]]] = {
    ("database", "url"): lambda: _given("database"),
    ("broker", "url"): lambda: _given("broker"),
    ("database", "docker"): containers.container_database,
    ("broker", "docker"): containers.container_broker,
    ("database", "local"): lambda: _private("database"),
    ("broker", "local"): lambda: _private("broker"),
}
