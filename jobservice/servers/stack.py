"""A private stack: PostgreSQL and RabbitMQ for one owner, started together, stopped together, nothing left behind.

Used by the demo, `jobservice up` and the tests. Start it from the main thread: on Linux the servers end with the
thread that started them, so that even a killed owner leaves none.
"""

import time
from collections.abc import Callable, Sequence
from pathlib import Path
from types import TracebackType
from typing import Protocol, Self

from jobservice.domain.errors import ServerStartError
from jobservice.servers.account import server_account
from jobservice.servers.child import Child
from jobservice.servers.directory import StackDirectory
from jobservice.servers.postgres import PostgresServer
from jobservice.servers.postgres_binaries import find_postgres
from jobservice.servers.rabbitmq import RabbitmqServer
from jobservice.servers.rabbitmq_installation import find_or_fetch_rabbitmq

START_TIMEOUT = 60.0  # a loaded machine took 14 s
STOP_TIMEOUT = 10.0
_POLL = 0.01


class _Server(Protocol):
    name: str
    child: Child

    def launch(self) -> None: ...
    def ready(self) -> bool: ...
    def move(self) -> None: ...
    def ask_to_stop(self) -> None: ...


def _silent(line: str) -> None:
    """Announce nothing."""


class PrivateStack:
    """The servers of one owner, in a directory that is removed with them unless it is kept.

    `directory`: where (default: a new one under /var/tmp); `keep`: leave data, ports and passwords there for the next
    stack of this directory. A stack with a directory of its own or kept asks for passwords. Raises ServerStartError
    with the last lines of a server's log, or with what to do when there is no server to start.
    """

    def __init__(
        self,
        directory: Path | None = None,
        keep: bool = False,
        postgres: bool = True,
        rabbitmq: bool = True,
        announce: Callable[[str], None] = _silent,
    ) -> None:
        self._wanted_directory = directory
        self._keep = keep
        self._wants_postgres = postgres
        self._wants_rabbitmq = rabbitmq
        self._announce = announce
        self._directory: StackDirectory | None = None
        self._postgres: PostgresServer | None = None
        self._rabbitmq: RabbitmqServer | None = None

    def __enter__(self) -> Self:
        """Start what was asked for and wait until it is ready; an interrupt on the way stops it again."""
        try:
            self._prepare()
            self._start(self._servers(), may_move=True)
        except BaseException:
            self.stop()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    @property
    def directory(self) -> Path:
        """Where data and logs are."""
        if self._directory is None:
            raise ServerStartError("this stack is not started; use it in a with statement")
        return self._directory.path

    @property
    def database_url(self) -> str:
        """For asyncpg and psycopg: a superuser's URL."""
        return self._require_postgres().url

    @property
    def amqp_url(self) -> str:
        """For any AMQP 0-9-1 client: the administrator's URL, virtual host `/`."""
        return self._require_rabbitmq().url

    @property
    def pids(self) -> list[int]:
        """The process ids of the servers that run."""
        return [server.child.pid for server in self._servers() if server.child.pid is not None]

    def describe(self) -> list[str]:
        """One line for each server: what it is, where, which version."""
        return [
            f"{service}: {server.name} {server.version}, private, on 127.0.0.1:{server.port}"
            for service, server in (("database", self._postgres), ("broker", self._rabbitmq))
            if server is not None
        ]

    def stop(self) -> None:
        """Stop both servers at once; kill what has not ended after 10 s; remove the directory.

        A broker whose data nobody keeps is killed: its orderly end takes a second, and ten while it boots.
        """
        if self._rabbitmq is not None and not self._keep:
            self._rabbitmq.child.kill()
        _stop(self._servers())
        self._postgres = self._rabbitmq = None
        if self._directory is not None:
            self._directory.release(keep=self._keep)
            self._directory = None

    def stop_postgres(self, immediate: bool = False) -> None:
        """Stop the database only; `immediate` as a crash would, without a checkpoint."""
        server = self._require_postgres()
        server.ask_to_stop(immediate=immediate)
        server.child.wait(STOP_TIMEOUT)

    def start_postgres(self) -> None:
        """Start it again, same data and port."""
        self._start([self._require_postgres()], may_move=False)

    def restart_postgres(self, immediate: bool = False) -> None:
        """Stop and start the database: sessions are cut, data and port stay."""
        self.stop_postgres(immediate)
        self.start_postgres()

    def stop_rabbitmq(self) -> None:
        """Stop the broker only, in order."""
        server = self._require_rabbitmq()
        server.ask_to_stop()
        server.child.wait(STOP_TIMEOUT)

    def kill_rabbitmq(self) -> None:
        """End the broker as a power cut would."""
        self._require_rabbitmq().child.kill()

    def start_rabbitmq(self) -> None:
        """Start it again, same data, port and password."""
        self._start([self._require_rabbitmq()], may_move=False)

    def _prepare(self) -> None:
        """Find the programs before anything is written: what is missing is told at once."""
        account = server_account()
        binaries = find_postgres(account) if self._wants_postgres else None
        installation = find_or_fetch_rabbitmq(self._announce) if self._wants_rabbitmq else None
        wanted = self._wanted_directory
        self._directory = StackDirectory.temporary() if wanted is None else StackDirectory.at(wanted)
        path = self._directory.path
        if installation is not None:
            self._rabbitmq = RabbitmqServer(directory=path, installation=installation)
        if binaries is not None:
            self._postgres = PostgresServer(
                directory=path,
                data=self._directory.reachable_for(account, "postgres"),
                binaries=binaries,
                account=account,
                with_password=self._keep or wanted is not None,
            )

    def _servers(self) -> list[_Server]:
        """The broker first: it takes longest to start."""
        return [server for server in (self._rabbitmq, self._postgres) if server is not None]

    def _start(self, servers: Sequence[_Server], *, may_move: bool) -> None:
        for server in servers:
            server.launch()
        deadline = time.monotonic() + START_TIMEOUT
        waiting = list(servers)
        moved: set[str] = set()
        while waiting:
            for server in list(waiting):
                if not server.child.running:
                    if not may_move or server.name in moved:
                        raise ServerStartError(
                            f"{server.name} ended before it was ready; it said:\n{server.child.log_tail()}"
                        )
                    moved.add(server.name)  # someone may have taken the port since it was chosen
                    server.move()
                    server.launch()
                elif server.ready():
                    waiting.remove(server)
            if waiting and time.monotonic() > deadline:
                slow = waiting[0]
                raise ServerStartError(
                    f"{slow.name} was not ready within {START_TIMEOUT:.0f} s; it said:\n{slow.child.log_tail()}"
                )
            time.sleep(_POLL if waiting else 0)

    def _require_postgres(self) -> PostgresServer:
        if self._postgres is None:
            raise ServerStartError("this stack has no PostgreSQL: it was not asked for, or is not started")
        return self._postgres

    def _require_rabbitmq(self) -> RabbitmqServer:
        if self._rabbitmq is None:
            raise ServerStartError("this stack has no RabbitMQ: it was not asked for, or is not started")
        return self._rabbitmq


def _stop(servers: Sequence[_Server]) -> None:
    for server in servers:
        server.ask_to_stop()
    deadline = time.monotonic() + STOP_TIMEOUT
    for server in servers:
        server.child.wait(max(0.0, deadline - time.monotonic()))
