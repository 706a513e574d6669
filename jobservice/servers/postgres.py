"""A private PostgreSQL server: its data, its port, its process. Never touches a server that it did not start."""

import secrets
import shutil
import signal
from pathlib import Path

from jobservice.domain.errors import ServerStartError
from jobservice.servers.account import Account
from jobservice.servers.child import Child
from jobservice.servers.ports import answer, free_ports
from jobservice.servers.postgres_binaries import PostgresBinaries

USER = "jobs"
_ENVIRONMENT = {"PATH": "/usr/bin:/bin", "LC_ALL": "C", "TZ": "UTC"}
_SSL_REQUEST = b"\x00\x00\x00\x08\x04\xd2\x16\x2f"  # any server answers it with one byte, before authentication
_READY_LINE = 7  # of postmaster.pid
_INITDB_TIMEOUT = 120.0


class PostgresServer:
    """One server in `directory`: `launch`, then ask `ready` until it is; `ask_to_stop`, then `wait`."""

    name = "PostgreSQL"

    def __init__(
        self, *, directory: Path, data: Path, binaries: PostgresBinaries, account: Account, with_password: bool
    ) -> None:
        """`data` is where the server's account may write; `directory` keeps log, port and password for us."""
        self._directory = directory
        self._home = data
        self._binaries = binaries
        self._account = account
        self._with_password = with_password
        self.child = Child(log=directory / "postgres.log", stop_signal=signal.SIGINT)
        self._port_file = directory / "postgres.port"
        self._password_file = directory / "postgres.password"
        self.port = int(self._port_file.read_text()) if self._port_file.exists() else 0

    @property
    def version(self) -> str:
        """The version of the programs."""
        return self._binaries.version

    @property
    def url(self) -> str:
        """The URL of the superuser, for asyncpg and psycopg."""
        password = f":{self._password_file.read_text()}" if self._password_file.exists() else ""
        return f"postgresql://{USER}{password}@127.0.0.1:{self.port}/postgres"

    def launch(self) -> None:
        """Make the data directory if there is none, then start the server; does not wait until it is ready."""
        if not self._data.exists():
            self._initialise()
        if self.port == 0:
            self.move()
        command: list[str | Path] = [
            self._binaries.directory / "postgres",
            *("-D", self._data, "-p", str(self.port), "-k", self._home),
            *("-c", "listen_addresses=127.0.0.1", "-c", "max_connections=300"),
        ]
        self.child.start(command, env=_ENVIRONMENT, directory=self._home, account=self._account)

    def ready(self) -> bool:
        """Whether it accepts connections."""
        try:
            lines = (self._data / "postmaster.pid").read_text().splitlines()
        except OSError:
            return False
        if len(lines) <= _READY_LINE or lines[_READY_LINE].strip() != "ready":
            return False
        return lines[0] == str(self.child.pid) and answer("127.0.0.1", self.port, _SSL_REQUEST) != b""

    def move(self) -> None:
        """Take another port at the next launch."""
        [self.port] = free_ports(1)
        self._port_file.write_text(str(self.port))

    def ask_to_stop(self, *, immediate: bool = False) -> None:
        """End all sessions and stop; `immediate` stops without a checkpoint, as a crash would."""
        self.child.ask_to_stop(signal.SIGQUIT if immediate else None)

    @property
    def _data(self) -> Path:
        return self._home / "data"

    def _initialise(self) -> None:
        """Data appears by one rename: an interrupted initdb leaves nothing that looks like a cluster."""
        self._home.mkdir(mode=0o700, exist_ok=True)
        self._account.own(self._home)
        making = self._home / "making"
        shutil.rmtree(making, ignore_errors=True)
        command: list[str | Path] = [
            self._binaries.directory / "initdb",
            *("-D", making, "-U", USER, "-E", "UTF8", "--locale=C", "--no-sync", "--no-instructions"),
            *self._authentication(),
        ]
        initdb = Child(log=self._directory / "postgres-initdb.log", stop_signal=signal.SIGTERM)
        try:
            initdb.start(command, env=_ENVIRONMENT, directory=self._home, account=self._account)
            status = initdb.wait(_INITDB_TIMEOUT)
        finally:
            initdb.kill()
        if status != 0:
            programs = f"PostgreSQL {self.version} in {self._binaries.directory}"
            raise ServerStartError(f"initdb of {programs} failed; it said:\n{initdb.log_tail()}")
        (self._home / "initial-password").unlink(missing_ok=True)
        making.rename(self._data)

    def _authentication(self) -> list[str | Path]:
        """Data that outlive the session ask for a password: other users of the machine reach the port too."""
        if not self._with_password:
            return ["-A", "trust"]
        password = secrets.token_hex(16)
        for file in (self._password_file, self._home / "initial-password"):
            file.touch(mode=0o600)
            file.write_text(password)
        self._account.own(self._home / "initial-password")
        return ["-A", "scram-sha-256", "--pwfile", self._home / "initial-password"]
