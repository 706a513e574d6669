"""A private RabbitMQ node: its data, its ports, its process. Never touches a broker that it did not start.

Erlang's runtime is started directly, without RabbitMQ's shell scripts and without Erlang's port mapper (epmd), which
would stay behind as a daemon: the node's distribution listens on 127.0.0.1 on a port that it is told.
"""

import os
import secrets
import signal
from pathlib import Path

from jobservice.servers.account import Account
from jobservice.servers.child import Child
from jobservice.servers.ports import answer, free_ports
from jobservice.servers.rabbitmq_applications import CodePath, code_path
from jobservice.servers.rabbitmq_installation import RabbitmqInstallation

USER = "jobs"
_NODE = "jobservice@localhost"  # works without a resolvable host name; no port mapper, so no clash between nodes
_PROTOCOL_HEADER = b"AMQP\x00\x00\x09\x01"
_START_FRAME = b"\x01"
_RUNTIME_FLAGS = "+W w +B i +P 1048576 +t 5000000 +sbwt none +sbwtdcpu none +sbwtdio none"


class RabbitmqServer:
    """One node in `directory`: `launch`, then ask `ready` until it is; `ask_to_stop`, then `wait`."""

    name = "RabbitMQ"

    def __init__(self, *, directory: Path, installation: RabbitmqInstallation) -> None:
        self._directory = directory
        self._home = directory / "rabbitmq"
        self._installation = installation
        self.child = Child(log=directory / "rabbitmq.log", stop_signal=signal.SIGTERM)
        self._port_file = directory / "rabbitmq.port"
        self._password_file = directory / "rabbitmq.password"
        self.port = int(self._port_file.read_text()) if self._port_file.exists() else 0

    @property
    def version(self) -> str:
        """The version of the node."""
        return self._installation.version

    @property
    def url(self) -> str:
        """The URL of its administrator, virtual host `/`."""
        return f"amqp://{USER}:{self._password_file.read_text()}@127.0.0.1:{self.port}/"

    def launch(self) -> None:
        """Write the node's configuration and start it; does not wait until it is ready."""
        if self.port == 0:
            self.move()
        [distribution_port] = free_ports(1)
        self._write_configuration()
        code = code_path(self._installation.plugins, self._home / "applications")
        self.child.start(
            [self._installation.programs / "erlexec", *_arguments(distribution_port), *_last(code)],
            env=self._environment(distribution_port, code.first),
            directory=self._home,
            account=Account(None, None),
        )

    def ready(self) -> bool:
        """Whether it speaks AMQP 0-9-1: answers the protocol header with its first frame."""
        return answer("127.0.0.1", self.port, _PROTOCOL_HEADER) == _START_FRAME

    def move(self) -> None:
        """Take another port at the next launch."""
        [self.port] = free_ports(1)
        self._port_file.write_text(str(self.port))

    def ask_to_stop(self) -> None:
        """Stop the node in order."""
        self.child.ask_to_stop()

    def _write_configuration(self) -> None:
        self._home.mkdir(mode=0o700, exist_ok=True)
        _write_secret(self._home / ".erlang.cookie", mode=0o400)
        _write_secret(self._password_file, mode=0o600)  # the node reads it at its first boot only: kept beside the data
        (self._home / "enabled_plugins").write_text("[].\n")
        (self._home / "environment.conf").write_text("")
        (self._home / "rabbitmq.conf").write_text(
            f"listeners.tcp.1 = 127.0.0.1:{self.port}\n"
            f"default_user = {USER}\n"
            f"default_pass = {self._password_file.read_text()}\n"
            "loopback_users = none\n"
            "vm_memory_high_watermark.absolute = 1GB\n"
            "disk_free_limit.absolute = 50MB\n"
            "log.file = false\n"
            "log.console = true\n"
            "log.console.level = info\n"
        )

    def _environment(self, distribution_port: int, applications: Path) -> dict[str, str]:
        """A clean environment: nothing of the caller's RABBITMQ_* or ERL_* gets in, no file of the system is read."""
        programs, home = self._installation.programs, self._home
        environment = {
            "PATH": f"{programs}:/usr/bin:/bin:/usr/sbin:/sbin",
            "HOME": home,
            "LANG": "C.UTF-8",
            "ROOTDIR": self._installation.erlang,
            "BINDIR": programs,
            "EMU": "beam",
            "PROGNAME": "erl",
            "ERL_LIBS": applications,
            "ERL_MAX_ETS_TABLES": "50000",
            "ERL_MAX_PORTS": "65536",
            "ERL_CRASH_DUMP_SECONDS": "0",
            "RABBITMQ_HOME": self._installation.rabbitmq,
            "RABBITMQ_NODENAME": _NODE,
            "RABBITMQ_DIST_PORT": distribution_port,
            "RABBITMQ_CONFIG_FILE": home / "rabbitmq.conf",
            "RABBITMQ_ADVANCED_CONFIG_FILE": home / "advanced.config",
            "RABBITMQ_CONF_ENV_FILE": home / "environment.conf",
            "RABBITMQ_MNESIA_BASE": home / "data",
            "RABBITMQ_LOG_BASE": home / "log",
            "RABBITMQ_ENABLED_PLUGINS_FILE": home / "enabled_plugins",
            "RABBITMQ_PLUGINS_EXPAND_DIR": home / "plugins-expand",
            "RABBITMQ_PID_FILE": home / "pid",
        }
        if self._installation.libraries:
            environment["LD_LIBRARY_PATH"] = os.pathsep.join(map(str, self._installation.libraries))
        return {name: str(value) for name, value in environment.items()}


def _arguments(distribution_port: int) -> list[str]:
    kernel = {
        "inet_dist_listen_min": str(distribution_port),
        "inet_dist_listen_max": str(distribution_port),
        "inet_dist_use_interface": "{127,0,0,1}",
        "prevent_overlapping_partitions": "false",
    }
    return [
        *("-noinput", "-s", "rabbit", "boot", "-boot", "start_sasl"),
        *_RUNTIME_FLAGS.split(),
        *("-sname", _NODE, "-start_epmd", "false", "-erl_epmd_port", str(distribution_port)),
        *(word for name, value in kernel.items() for word in ("-kernel", name, value)),
        *("-syslog", "logger", "[]", "-syslog", "syslog_error_logger", "false"),
    ]


def _last(code: CodePath) -> list[str]:
    return ["-pz", *map(str, code.last)] if code.last else []


def _write_secret(file: Path, *, mode: int) -> None:
    """A random word that only this user reads; one that exists stays."""
    if not file.exists():
        with os.fdopen(os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as secret:
            secret.write(secrets.token_hex(16))
        file.chmod(mode)
