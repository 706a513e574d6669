"""The demo itself, as a user starts it: it holds, alone and beside another one, and however it ends nothing is left."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import psycopg
import pytest

ROOT = Path(__file__).parents[2]
SECONDS = 150.0
"""How long anything here is waited for at most."""

Start = Callable[..., "Demo"]


class Demo:
    """A demo in a process of its own; what it says on stderr goes to a file that can be read meanwhile."""

    def __init__(self, arguments: list[str], environment: dict[str, str], errors: Path) -> None:
        kept = {name: value for name, value in os.environ.items() if not name.startswith("JOBSERVICE_")}
        self._errors = errors
        with errors.open("wb") as stream:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "jobservice", *arguments, "demo"],
                cwd=ROOT, env=kept | environment, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=stream,
                text=True,
            )  # fmt: skip

    @property
    def errors(self) -> str:
        return self._errors.read_text()

    def says(self, words: str) -> None:
        """Wait until it has said these words."""
        self.until(lambda: words in self.errors, words)

    def until(self, claim: Callable[[], object], what: str) -> None:
        deadline = time.monotonic() + SECONDS
        while not claim():
            assert self.process.poll() is None, f"it ended before {what}; it said {self.errors}"
            assert time.monotonic() < deadline, f"not within {SECONDS} s: {what}; it said {self.errors}"
            time.sleep(0.005)

    def children(self) -> list[psutil.Process]:
        try:
            return psutil.Process(self.process.pid).children(recursive=True)
        except psutil.NoSuchProcess:
            return []

    def child(self, word: str) -> list[psutil.Process]:
        """Those of its children whose command has this word."""
        return [child for child in self.children() if any(word in each for each in _command_of(child))]

    def directories(self) -> set[Path]:
        """Where its daemon and its servers work, as their command lines tell."""
        words = [word for child in self.children() for word in _command_of(child)]
        paths = [Path(word) for word in words if word.startswith("/var/tmp/jobservice-")]
        return {Path(*path.parts[:4]) for path in paths}

    def ended(self) -> tuple[int, str]:
        """Its exit status and all of its standard output."""
        out, _ = self.process.communicate(timeout=SECONDS)
        return self.process.returncode, out


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    started: list[Demo] = []

    def begin(*arguments: str, **environment: str) -> Demo:
        started.append(Demo(list(arguments), environment, tmp_path / f"errors-{len(started)}"))
        return started[-1]

    yield begin
    for demo in started:
        if demo.process.poll() is None:
            demo.process.terminate()
        demo.process.communicate()


@pytest.fixture
def given(database_url: str, amqp_url: str) -> dict[str, str]:
    return {"JOBSERVICE_DATABASE_URL": database_url, "JOBSERVICE_AMQP_URL": amqp_url}


def demo_schemas(database_url: str) -> list[str]:
    with psycopg.connect(database_url) as connection:
        rows = connection.execute("SELECT nspname FROM pg_namespace WHERE nspname LIKE 'jobservice_demo%'").fetchall()
    return [row[0] for row in rows]


def test_two_demos_on_the_same_servers_at_the_same_time_both_hold_and_leave_nothing(
    start: Start, given: dict[str, str], database_url: str
) -> None:
    plain = start(**given)
    as_json = start("--json", **given)

    code, out = as_json.ended()
    plain_code, plain_out = plain.ended()

    document = json.loads(out)
    assert (code, document["ok"]) == (0, True), (document["checks"], as_json.errors)
    assert document["total"]["jobs"] == len(document["jobs"])
    assert document["total"]["files"] > 1_000
    assert plain_code == 0, (plain_out, plain.errors)
    assert "13 of 13 checks hold" in plain_out
    assert "\x1b" not in plain_out + plain.errors
    assert all(f" {tenant} " in plain.errors for tenant in ("aurora", "borealis", "cygnus"))
    assert demo_schemas(database_url) == []


def test_ctrl_c_while_the_daemon_starts_leaves_neither_process_nor_directory_nor_schema(
    start: Start, given: dict[str, str], database_url: str
) -> None:
    demo = start(**given)
    demo.until(lambda: demo.child("demo.daemon_program"), "its daemon is there")
    demo.child("demo.daemon_program")[0].suspend()
    demo.until(lambda: demo_schemas(database_url), "its schema is there")
    children, directories = demo.children(), demo.directories()

    demo.process.send_signal(signal.SIGINT)
    code, out = demo.ended()

    assert (code, out) == (130, ""), demo.errors
    assert "Traceback" not in demo.errors
    assert demo_schemas(database_url) == []
    assert_gone(children, directories)


def test_ctrl_c_while_private_servers_start_leaves_neither_process_nor_directory(start: Start) -> None:
    demo = start()
    demo.until(lambda: demo.child("beam"), "its broker starts")
    demo.child("beam")[0].suspend()
    children, directories = demo.children(), demo.directories()

    demo.process.send_signal(signal.SIGINT)
    demo.process.send_signal(signal.SIGINT)
    code, out = demo.ended()

    assert (code, out) == (130, ""), demo.errors
    assert "Traceback" not in demo.errors
    assert_gone(children, directories)


@pytest.mark.parametrize("words", ["one more for aurora", "SUCCEEDED"])
def test_ctrl_c_in_the_middle_leaves_neither_process_nor_directory_nor_schema(
    start: Start, given: dict[str, str], database_url: str, words: str
) -> None:
    demo = start(**given)
    demo.says(words)
    demo.process.send_signal(signal.SIGINT)
    children, directories = demo.children(), demo.directories()

    code, out = demo.ended()

    assert "Traceback" not in demo.errors
    if code != 130:  # the signal came when the last job had ended: what is left then is told, and cleaned up
        assert (code, "checks hold" in out) == (0, True), demo.errors
    assert demo_schemas(database_url) == []
    assert_gone(children, directories)


def test_a_server_that_is_given_and_does_not_answer_is_named(start: Start) -> None:
    demo = start("--database-url", "postgresql://127.0.0.1:1/jobs")

    code, out = demo.ended()

    assert (code, out) == (7, "")
    assert "127.0.0.1:1" in demo.errors


def assert_gone(children: list[psutil.Process], directories: set[Path]) -> None:
    # A server's helper needs a moment to notice that its server is gone.
    _, alive = psutil.wait_procs(children, timeout=20)
    assert alive == []
    assert not any(directory.exists() for directory in directories)


def _command_of(process: psutil.Process) -> list[str]:
    try:
        return process.cmdline()
    except psutil.Error:
        return []
