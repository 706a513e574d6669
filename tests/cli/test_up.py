"""`up`: one line when all is ready, jobs run, events are seen, and nothing is left behind."""

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import psycopg
import pytest
from psycopg.types.json import Jsonb

ROOT = Path(__file__).parents[2]
COMMAND = [sys.executable, "-m", "jobservice"]


class Up:
    """A running `jobservice up --json`, its one line, and the command line pointed at it."""

    def __init__(self) -> None:
        self.environment = {name: value for name, value in os.environ.items() if not name.startswith("JOBSERVICE_")}
        self.process = subprocess.Popen(
            [*COMMAND, "up", "--json", "--daemons", "2"],
            cwd=ROOT, env=self.environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        )  # fmt: skip
        # Read all the time: a full pipe would block the daemons.
        self.errors: list[str] = []
        self.reader = threading.Thread(target=self._read_errors, daemon=True)
        self.reader.start()
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        assert line, "".join(self.errors)
        self.ready: dict[str, Any] = json.loads(line)
        self.environment |= {
            "JOBSERVICE_DATABASE_URL": self.ready["database_url"],
            "JOBSERVICE_AMQP_URL": self.ready["amqp_url"],
        }

    def run(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [*COMMAND, *arguments],
            cwd=ROOT,
            env=self.environment,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )

    def start(self, *arguments: str) -> subprocess.Popen[str]:
        return subprocess.Popen(
            [*COMMAND, *arguments],
            cwd=ROOT,
            env=self.environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def _read_errors(self) -> None:
        assert self.process.stderr is not None
        self.errors += self.process.stderr


@pytest.fixture(scope="module")
def up() -> Iterator[Up]:
    running = Up()
    yield running
    if running.process.poll() is None:
        running.process.terminate()
        running.process.wait(60)


def test_the_line_names_servers_daemons_and_their_addresses(up: Up) -> None:
    assert set(up.ready) == {"database_url", "amqp_url", "daemon_pids", "http_urls"}
    assert len(set(up.ready["daemon_pids"])) == len(set(up.ready["http_urls"])) == 2
    listed = json.loads(up.run("daemons", "--json").stdout)
    assert {row["pid"] for row in listed} == set(up.ready["daemon_pids"])


def test_doctor_finds_all_well(up: Up) -> None:
    result = up.run("doctor")

    assert result.returncode == 0, result.stdout


def test_a_submitted_job_is_waited_for_and_its_end_is_the_exit_status(up: Up) -> None:
    good = up.run("submit", "ChecksumTree", "-p", "root=config", "--wait", "--json")
    bad = up.run("submit", "ChecksumTree", "--wait")

    assert good.returncode == 0, good.stderr
    assert json.loads(good.stdout)["status"] == "SUCCEEDED"
    assert bad.returncode == 1
    assert "root" in bad.stderr


def test_watch_shows_a_jobs_whole_way_and_ends_with_it(up: Up) -> None:
    job_id = up.run("submit", "ChecksumTree", "-p", "root=config", "--pending").stdout.strip()
    watching = up.start("watch", "--job", job_id, "--until-final", "--json")
    assert watching.stderr is not None
    assert "watching" in watching.stderr.readline()

    up.run("enqueue", job_id)
    told, _ = watching.communicate(timeout=60)

    events = [json.loads(line) for line in told.splitlines()]
    assert watching.returncode == 0
    assert [event["status"] for event in events] == ["QUEUED", "TO_BE_RUN", "RUNNING", "SUCCEEDED"]


def submit_pipeline(up: Up, **fields: Any) -> str:
    with psycopg.connect(up.ready["database_url"], autocommit=True) as connection:
        row = connection.execute("SELECT pipeline_id FROM jobservice.submit_pipeline(%s)", [Jsonb(fields)]).fetchone()
    assert row is not None
    return str(row[0])


def test_watch_shows_a_pipelines_whole_way_and_ends_with_it(up: Up) -> None:
    jobs = [{"job_class": "ChecksumTree", "parameters": {"root": "config"}}]
    stages = [{"name": "first", "jobs": jobs * 2}, {"name": "last", "jobs": jobs}]
    watched = submit_pipeline(up, name="watched", status="PENDING", stages=stages)
    by_id = up.start("watch", "--pipeline", watched, "--until-final", "--json")
    by_name = up.start("watch", "--pipelines", "--pipeline", "watched", "--status", "succeeded", "--until-final")
    for watching in (by_id, by_name):
        assert watching.stderr is not None
        assert "watching" in watching.stderr.readline()

    submit_pipeline(up, name="not-watched", stages=stages)
    with psycopg.connect(up.ready["database_url"], autocommit=True) as connection:
        connection.execute("SELECT jobservice.command_pipelines(ARRAY[%s::uuid], 'start')", [watched])
    told, _ = by_id.communicate(timeout=60)
    lines, _ = by_name.communicate(timeout=60)

    assert (by_id.returncode, by_name.returncode) == (0, 0)
    events = [json.loads(line) for line in told.splitlines()]
    changes = [event for event in events if event["status"] != event["previous_status"]]
    assert [(event["stage_name"], event["status"]) for event in changes] == [
        (None, "QUEUED"),
        *(("first", status) for status in ("QUEUED", "RUNNING")),
        (None, "RUNNING"),
        ("first", "SUCCEEDED"),
        *(("last", status) for status in ("QUEUED", "RUNNING", "SUCCEEDED")),
        (None, "SUCCEEDED"),
    ]
    assert [line.split("\t")[1:4] + line.split("\t")[5:] for line in lines.splitlines()] == [
        ["SUCCEEDED", "default", "watched/1 first", "2/2"],
        ["SUCCEEDED", "default", "watched/2 last", "1/1"],
        ["SUCCEEDED", "default", "watched", "100 %"],
    ]


def test_watching_a_pipeline_that_has_ended_ends_at_once_and_an_unknown_one_is_told(up: Up) -> None:
    ended = submit_pipeline(up, name="empty")

    assert up.run("watch", "--pipeline", ended, "--until-final").returncode == 0
    assert up.run("watch", "--pipeline", ended.replace(ended[:8], "0" * 8), "--until-final").returncode == 4


def test_what_does_not_go_with_pipelines_is_refused(up: Up) -> None:
    for options in (["--queue", "q"], ["--status", "to_be_run"], ["--tenant", "a.b"]):
        assert up.run("watch", "--pipelines", *options).returncode == 2


def test_with_the_broker_alone_a_job_is_submitted_awaited_stopped_and_run_again(up: Up) -> None:
    del up.environment["JOBSERVICE_DATABASE_URL"]
    try:
        good = up.run("submit", "ChecksumTree", "-p", "root=config", "--tenant", "acme", "--wait")
        held = up.run("submit", "ChecksumTree", "-p", "root=config", "--tenant", "acme", "--pending").stdout.strip()
        refused = up.run("submit", "ChecksumTree", "--tenant", "no.dots")
        stopped, again = up.run("stop", held), up.run("stop", held)
        new_id = up.run("rerun", held).stdout.strip()
        unknown = up.run("show", held)
    finally:
        up.environment["JOBSERVICE_DATABASE_URL"] = up.ready["database_url"]

    assert good.returncode == 0, good.stderr
    assert (refused.returncode, "tenant" in refused.stderr) == (2, True)
    assert (stopped.returncode, stopped.stdout.split()) == (0, [held, "ABORTED"])
    assert (again.returncode, "ABORTED" in again.stderr) == (5, True)
    assert up.run("wait", new_id).returncode == 0
    assert (unknown.returncode, "database_url" in unknown.stderr) == (2, True)


def test_watching_a_job_that_has_ended_ends_at_once(up: Up) -> None:
    job_id = up.run("submit", "ChecksumTree", "-p", "root=config", "--wait").stdout.strip()

    assert up.run("watch", "--job", job_id, "--until-final").returncode == 0


def test_ctrl_c_ends_a_command_with_130(up: Up) -> None:
    watching = up.start("watch")
    assert watching.stderr is not None
    assert "watching" in watching.stderr.readline()

    watching.send_signal(signal.SIGINT)
    _, errors = watching.communicate(timeout=60)

    assert watching.returncode == 130
    assert "Traceback" not in errors


def test_sigterm_stops_all_and_leaves_no_process() -> None:
    up = Up()
    children = psutil.Process(up.process.pid).children(recursive=True)

    up.process.terminate()
    assert up.process.stdout is not None
    rest = up.process.stdout.read()
    code = up.process.wait(60)

    up.reader.join(10)
    assert (code, rest) == (0, "")
    deadline = time.monotonic() + 20
    while left := [child for child in children if child.is_running() and child.status() != psutil.STATUS_ZOMBIE]:
        assert time.monotonic() < deadline, left
