"""A private stack: starts, outlives restarts, and leaves nothing behind however its owner ends."""

import contextlib
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pika
import psutil
import psycopg
import pytest

from jobservice.domain.errors import ServerStartError
from jobservice.servers import rabbitmq_fetch
from jobservice.servers.account import Account
from jobservice.servers.postgres_binaries import find_postgres
from jobservice.servers.rabbitmq_installation import find_or_fetch_rabbitmq
from jobservice.servers.stack import PrivateStack

CHECKOUT = Path(__file__).parents[2]
OWNER = """
import json, sys
from pathlib import Path
from jobservice.servers.stack import PrivateStack

with PrivateStack() as stack:
    told = {"database_url": stack.database_url, "amqp_url": stack.amqp_url, "pids": stack.pids}
    print(json.dumps(told | {"directory": str(stack.directory)}), flush=True)
    sys.stdin.read()
"""


def eventually(claim: Callable[[], object]) -> None:
    deadline = time.monotonic() + 60
    while not claim():
        assert time.monotonic() < deadline, "the claim did not come true in time"
        time.sleep(0.02)


def living_in(directory: Path) -> list[str]:
    """The processes that work in `directory`."""
    living = []
    for process in psutil.process_iter():
        try:
            if process.cwd().startswith(str(directory)):
                living.append(f"{process.pid} {process.name()}")
        except psutil.Error:
            continue
    return living


def stack_directories_of(owner_pid: int) -> list[Path]:
    """The stack's directory as the servers that a process has started so far tell it."""
    found = []
    for child in psutil.Process(owner_pid).children():
        with contextlib.suppress(psutil.Error):
            found += [path for path in Path(child.cwd()).parents if path.name.startswith("jobservice-")]
    return found


def select_one(url: str) -> int:
    with psycopg.connect(url, connect_timeout=10) as connection:
        row = connection.execute("SELECT 1").fetchone()
    assert row is not None
    return int(row[0])


def queue_length(url: str, queue: str) -> int:
    connection = pika.BlockingConnection(pika.URLParameters(url))
    length = connection.channel().queue_declare(queue, passive=True).method.message_count
    connection.close()
    return int(length)


def send_durably(url: str, queue: str) -> None:
    connection = pika.BlockingConnection(pika.URLParameters(url))
    channel = connection.channel()
    channel.confirm_delivery()
    channel.queue_declare(queue, durable=True)
    channel.basic_publish("", queue, b"kept", pika.BasicProperties(delivery_mode=2), mandatory=True)
    connection.close()


@pytest.fixture
def open_directory() -> Iterator[Path]:
    """A directory that every user of the machine reaches, unlike the one pytest makes."""
    directory = Path(tempfile.mkdtemp(prefix="open-", dir="/var/tmp"))
    directory.chmod(0o755)
    yield directory
    shutil.rmtree(directory)


@pytest.fixture
def owner() -> Iterator[Callable[..., subprocess.Popen[str]]]:
    """Starts a process that owns a private stack until its standard input ends."""
    started: list[subprocess.Popen[str]] = []

    def start(**how: object) -> subprocess.Popen[str]:
        process = subprocess.Popen(
            [sys.executable, "-c", OWNER],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            **{"cwd": CHECKOUT, "env": os.environ | {"PYTHONPATH": str(CHECKOUT)}} | how,  # type: ignore[call-overload]
        )
        started.append(process)
        return process

    yield start
    for process in started:
        if process.poll() is None:
            process.kill()
        process.communicate()


def told_by(owner: subprocess.Popen[str]) -> dict:
    assert owner.stdout is not None
    line = owner.stdout.readline()
    assert line, owner.stderr and owner.stderr.read()
    return json.loads(line)


def test_a_stack_serves_both_and_leaves_neither_process_nor_file() -> None:
    with PrivateStack() as stack:
        directory, pids = stack.directory, stack.pids
        answer = select_one(stack.database_url)
        send_durably(stack.amqp_url, "jobs")

        assert answer == 1
        assert queue_length(stack.amqp_url, "jobs") == 1
        assert len(pids) == 2

    assert not directory.exists()
    assert living_in(directory) == []
    assert not any(psutil.pid_exists(pid) for pid in pids)


def test_servers_listen_on_the_loopback_only() -> None:
    with PrivateStack() as stack:
        listening = [
            connection.laddr.ip
            for pid in stack.pids
            for connection in psutil.Process(pid).net_connections(kind="inet")
            if connection.status == psutil.CONN_LISTEN
        ]

    assert len(listening) >= 2
    assert set(listening) == {"127.0.0.1"}


def test_a_killed_owner_leaves_no_server_and_the_next_stack_sweeps_its_directory(
    owner: Callable[..., subprocess.Popen[str]],
) -> None:
    victim = owner()
    told = told_by(victim)
    directory = Path(told["directory"])

    victim.kill()
    victim.wait()

    eventually(lambda: living_in(directory) == [])
    with PrivateStack(rabbitmq=False):  # or one that another test has started since
        assert not directory.exists()


def test_a_living_owners_directory_is_not_swept(owner: Callable[..., subprocess.Popen[str]]) -> None:
    told = told_by(owner())

    with PrivateStack(rabbitmq=False):
        pass

    assert Path(told["directory"]).exists()
    assert select_one(told["database_url"]) == 1


def test_an_interrupt_during_the_start_stops_what_was_started(
    owner: Callable[..., subprocess.Popen[str]],
) -> None:
    starting = owner()
    directories: list[Path] = []
    eventually(lambda: directories.extend(stack_directories_of(starting.pid)) or directories)

    starting.send_signal(signal.SIGINT)
    _, errors = starting.communicate(timeout=60)

    assert "KeyboardInterrupt" in errors
    assert living_in(directories[0]) == []
    assert not directories[0].exists()


def test_ctrl_c_in_the_terminal_reaches_the_owner_only(owner: Callable[..., subprocess.Popen[str]]) -> None:
    process = owner(start_new_session=True)
    told = told_by(process)

    sessions = {os.getsid(pid) for pid in told["pids"]}

    assert os.getsid(process.pid) not in sessions


def test_a_server_that_dies_before_it_is_ready_tells_its_log(open_directory: Path) -> None:
    with PrivateStack(open_directory / "stack", keep=True, rabbitmq=False):
        pass
    (open_directory / "stack" / "postgres" / "data" / "postgresql.conf").write_text("no_such_setting = 1\n")

    with pytest.raises(ServerStartError, match="no_such_setting"):
        PrivateStack(open_directory / "stack", keep=True, rabbitmq=False).__enter__()

    assert living_in(open_directory) == []


def test_a_port_taken_meanwhile_is_replaced_once(open_directory: Path) -> None:
    with PrivateStack(open_directory / "stack", keep=True, rabbitmq=False) as stack:
        before = stack.database_url
    port = int(before.rsplit(":", 1)[1].split("/")[0])

    with (
        socket.create_server(("127.0.0.1", port)),
        PrivateStack(open_directory / "stack", keep=True, rabbitmq=False) as stack,
    ):
        assert stack.database_url != before
        assert select_one(stack.database_url) == 1


def test_a_database_stopped_as_by_a_crash_keeps_its_data_and_its_port() -> None:
    with PrivateStack(rabbitmq=False) as stack:
        url = stack.database_url
        with psycopg.connect(url) as connection:
            connection.execute("CREATE TABLE kept AS SELECT 7 AS n")

        stack.restart_postgres(immediate=True)

        assert stack.database_url == url
        with psycopg.connect(url) as connection:
            assert connection.execute("SELECT n FROM kept").fetchone() == (7,)


def test_a_stopped_database_refuses_sessions_until_it_is_started() -> None:
    with PrivateStack(rabbitmq=False) as stack:
        stack.stop_postgres()
        with pytest.raises(psycopg.OperationalError):
            select_one(stack.database_url)

        stack.start_postgres()

        assert select_one(stack.database_url) == 1


def test_a_killed_broker_comes_back_on_its_port_with_its_password() -> None:
    with PrivateStack(postgres=False) as stack:
        url = stack.amqp_url
        [pid] = stack.pids

        stack.kill_rabbitmq()
        assert not psutil.pid_exists(pid)
        stack.start_rabbitmq()

        assert stack.amqp_url == url
        send_durably(url, "jobs")


def test_a_kept_stack_comes_back_with_its_data_ports_and_passwords(open_directory: Path) -> None:
    with PrivateStack(open_directory / "stack", keep=True) as stack:
        before = (stack.database_url, stack.amqp_url)
        send_durably(stack.amqp_url, "jobs")
        with psycopg.connect(stack.database_url) as connection:
            connection.execute("CREATE TABLE kept ()")

    with PrivateStack(open_directory / "stack", keep=True) as stack:
        assert (stack.database_url, stack.amqp_url) == before
        assert queue_length(stack.amqp_url, "jobs") == 1
        with psycopg.connect(stack.database_url) as connection:
            connection.execute("SELECT FROM kept")


def test_a_kept_database_refuses_a_session_without_its_password(open_directory: Path) -> None:
    with PrivateStack(open_directory / "stack", keep=True, rabbitmq=False) as stack:
        password = stack.database_url.split(":")[2].split("@")[0]

        with pytest.raises(psycopg.OperationalError, match="password"):
            select_one(stack.database_url.replace(f":{password}@", "@"))


def test_one_directory_has_one_owner(open_directory: Path) -> None:
    with (
        PrivateStack(open_directory / "stack", rabbitmq=False),
        pytest.raises(ServerStartError, match="another process"),
    ):
        PrivateStack(open_directory / "stack", rabbitmq=False).__enter__()


def test_a_directory_that_was_given_loses_only_what_the_stack_put_there(open_directory: Path) -> None:
    (open_directory / "mine.txt").write_text("mine")

    with PrivateStack(open_directory, rabbitmq=False):
        pass

    assert [path.name for path in open_directory.iterdir()] == ["mine.txt"]


def python_for(user: dict[str, object]) -> str:
    """An interpreter that this user can run: that of the tests may lie in root's home."""
    for candidate in (sys.executable, "/usr/bin/python3"):
        with contextlib.suppress(OSError):
            program = "import sys; sys.exit(sys.version_info < (3, 11))"
            if subprocess.run([candidate, "-c", program], check=False, cwd="/", **user).returncode == 0:  # type: ignore[call-overload]
                return candidate
    pytest.skip("no Python 3.11 that an ordinary user can run")


@pytest.mark.skipif(os.geteuid() != 0, reason="every other test here runs as an ordinary user already")
def test_an_ordinary_user_starts_servers_too(open_directory: Path) -> None:
    user: dict[str, object] = {"user": 65534, "group": 65534, "extra_groups": []}
    installation = find_or_fetch_rabbitmq(print)
    shutil.copytree(CHECKOUT / "jobservice", open_directory / "jobservice")
    if installation.libraries:  # unpacked below root's home
        shutil.copytree(rabbitmq_fetch.cache_root(), open_directory / "rabbitmq", symlinks=True)
    environment = {
        "HOME": "/nonexistent",
        "PATH": "/usr/bin:/bin",
        "PYTHONPATH": str(open_directory),
        "JOBSERVICE_PG_BIN": str(find_postgres(Account(65534, 65534)).directory),
        "JOBSERVICE_RMQ_ROOT": str(open_directory / "rabbitmq" if installation.libraries else "/"),
    }

    done = subprocess.run(
        [python_for(user), "-c", OWNER],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
        cwd="/",
        env=environment,
        **user,  # type: ignore[call-overload]
    )

    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    assert len(told["pids"]) == 2
    assert not Path(told["directory"]).exists()


@pytest.mark.skipif(os.geteuid() != 0, reason="only root's servers run under another account")
def test_roots_private_directory_keeps_its_mode_and_its_data_find_a_place(open_directory: Path) -> None:
    private = open_directory / "private"
    private.mkdir(mode=0o700)

    with PrivateStack(private / "stack", keep=True, rabbitmq=False) as stack:
        before = stack.database_url
        data = (private / "stack" / "postgres").resolve()
    with PrivateStack(private / "stack", rabbitmq=False) as stack:
        assert stack.database_url == before
        assert select_one(stack.database_url) == 1

    assert private.stat().st_mode & 0o777 == 0o700
    assert not data.parent.exists()
