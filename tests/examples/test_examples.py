"""Each example is run as its first lines say, as a program of its own, against `jobservice up` with the own package."""

import asyncio
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import threading
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import asyncpg
import pytest
from typer.testing import CliRunner

from jobservice.cli.main import build

ROOT = Path(__file__).parents[2]
EXAMPLES = ROOT / "examples"
OWN_PACKAGE = EXAMPLES / "own_package"
SECONDS = 60


class Up:
    """`jobservice up` with the settings of the own package, and programs that see its servers."""

    def __init__(self, home: Path) -> None:
        clean = {name: value for name, value in os.environ.items() if not name.startswith("JOBSERVICE_")}
        self.environment = clean | {"XDG_STATE_HOME": str(home)}
        daemon = self.environment | {"PYTHONPATH": str(OWN_PACKAGE)}
        self.process = subprocess.Popen(
            [sys.executable, "-m", "jobservice", "up", "--json", "--config", str(OWN_PACKAGE / "jobservice.toml")],
            cwd=ROOT, env=daemon, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        )  # fmt: skip
        assert self.process.stdout is not None
        self.said: list[str] = []
        threading.Thread(target=self._listen, daemon=True).start()
        line = self.process.stdout.readline()
        assert line, "".join(self.said)
        ready = json.loads(line)
        self.database_url: str = ready["database_url"]
        self.amqp_url: str = ready["amqp_url"]
        self.http_url: str = ready["http_urls"][0]
        self.environment |= {"JOBSERVICE_DATABASE_URL": ready["database_url"], "JOBSERVICE_AMQP_URL": ready["amqp_url"]}

    def run(self, *command: str, status: int = 0) -> str:
        """What a Python program or module (-m) prints, once it has ended with `status`."""
        ended = subprocess.run(
            [sys.executable, *command],
            cwd=ROOT, env=self.environment, capture_output=True, text=True, timeout=SECONDS, check=False,
        )  # fmt: skip
        assert ended.returncode == status, ended.stdout + ended.stderr
        return ended.stdout

    def tell(self, *arguments: str, status: int = 0) -> str:
        """What the command line prints, called in this process: a process for each costs a second."""
        environment = {"JOBSERVICE_DATABASE_URL": self.database_url, "JOBSERVICE_AMQP_URL": self.amqp_url}
        config = ("--config", str(ROOT / "config" / "jobservice.toml"))
        ended = CliRunner().invoke(build(), [*config, *arguments], env=environment)
        assert ended.exit_code == status, ended.output
        return ended.stdout

    def jobservice(self, *arguments: str) -> Any:
        """The JSON that a command prints."""
        return json.loads(self.tell(*arguments, "--json"))

    def start(self, *command: str) -> subprocess.Popen[str]:
        return subprocess.Popen(
            [sys.executable, *command], cwd=ROOT, env=self.environment, stdout=subprocess.PIPE, text=True
        )

    def _listen(self) -> None:
        # A full pipe would block the daemon.
        assert self.process.stderr is not None
        self.said += self.process.stderr


@pytest.fixture(scope="module")
def up(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Up]:
    running = Up(tmp_path_factory.mktemp("state"))
    yield running
    running.process.terminate()
    running.process.wait(SECONDS)


@pytest.fixture
def tree(tmp_path: Path) -> str:
    """A directory with two files, for jobs that read one."""
    tree = tmp_path / "tree"
    tree.mkdir()
    (tree / "a.txt").write_text("a")
    (tree / "b.txt").write_text("b")
    return str(tree)


def lines_until(program: subprocess.Popen[str], last: str) -> list[str]:
    """What a program prints up to the line that ends with `last`; it is killed where that does not come."""
    assert program.stdout is not None
    guard = threading.Timer(SECONDS, program.kill)
    guard.start()
    lines = []
    try:
        for line in program.stdout:
            lines.append(line.strip())
            if line.strip().endswith(last):
                return lines
    finally:
        guard.cancel()
    raise AssertionError(f"no line ended with {last!r}: {lines}")


def test_the_own_package_passes_its_own_tests_without_any_server() -> None:
    clean = {name: value for name, value in os.environ.items() if not name.startswith(("JOBSERVICE_", "PYTEST_"))}

    ended = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider"],
        cwd=OWN_PACKAGE, env=clean, capture_output=True, text=True, timeout=SECONDS, check=False,
    )  # fmt: skip

    assert ended.returncode == 0, ended.stdout + ended.stderr
    assert "5 passed" in ended.stdout


def test_a_job_of_the_own_package_runs_in_the_daemon_that_names_it(up: Up, tmp_path: Path) -> None:
    (tmp_path / "old.log").write_text("line\n" * 1000)

    job = up.jobservice("submit", "CompressFiles", "-p", f"directory={tmp_path}", "--wait")

    assert (job["status"], job["result"]["files"]) == ("SUCCEEDED", 1)
    assert [path.name for path in tmp_path.iterdir()] == ["old.log.gz"]


def test_readyz_answers_with_what_the_page_on_operations_shows(up: Up) -> None:
    page = (ROOT / "docs" / "operations.md").read_text()
    (shown,) = [json.loads(body) for body in re.findall(r"```json\n(.*?)```", page, re.DOTALL)]

    with urllib.request.urlopen(f"{up.http_url}/readyz", timeout=SECONDS) as answer:
        told = json.load(answer)

    assert told.keys() == shown.keys()


def test_the_tour_of_the_readme_prints_what_it_shows(up: Up) -> None:
    done = up.tell("submit", "ChecksumTree", "-p", "root=config", "--tenant", "acme", "--priority", "HIGH", "--wait")
    sleeper = up.tell("submit", "RunCommand", "-p", 'arguments=["sleep", "600"]', "--tenant", "acme", "--owner", "me")
    waiting = up.tell("submit", "ChecksumTree", "-p", "root=config", "--tenant", "zoo", "--trigger-after", "1h")
    up.tell("submit", "ChecksumTree", "--tenant", "acme", "--wait", status=1)

    listed = up.tell("list").splitlines()
    shown = up.tell("show", waiting.strip())
    stopped = up.tell("stop", sleeper.strip())
    findings = up.tell("doctor").splitlines()

    columns = ["job_id", "status", "tenant", "queue", "job_class", "priority", "percent_completed", "created_date"]
    assert listed[0].split("\t") == columns
    assert [
        line for line in listed if line.startswith(f"{done.split()[0]}\tSUCCEEDED\tacme\tdefault\tChecksumTree\t100")
    ]
    assert "why_not_running\tits trigger date is " in shown
    assert stopped.split("\t")[0] == sleeper.strip()
    assert [line.split("\t")[0] for line in findings[1:]] == doctor_in_readme()


def doctor_in_readme() -> list[str]:
    """What doctor looks at, as the README shows it."""
    table = (ROOT / "README.md").read_text().split("$ jobservice doctor\n")[1].split("\nall is well")[0]
    return [re.split(r"  +", line)[0] for line in table.splitlines()[1:]]


def test_submit_with_database_prints_how_many_files_were_read(up: Up, tree: str) -> None:
    printed = up.run("examples/submit_with_database.py", tree)

    assert printed.splitlines()[-1] == "SUCCEEDED: 2"


def test_schedule_jobs_prints_three_dates_and_the_end_of_the_job_that_it_ran_at_once(up: Up, tree: str) -> None:
    *dates, end = up.run("examples/schedule_jobs.py", tree).splitlines()

    assert [date[11:19] for date in dates] == ["02:30:00"] * 3 or "03:00:00" in str(dates)
    assert re.fullmatch(r"SUCCEEDED: tree of \d{4}-\d\d-\d\d", end)


def test_submit_over_amqp_sees_the_end_without_a_database(up: Up, tree: str) -> None:
    url = up.environment.pop("JOBSERVICE_DATABASE_URL")
    try:
        printed = up.run("examples/submit_over_amqp.py", tree)
    finally:
        up.environment["JOBSERVICE_DATABASE_URL"] = url

    assert printed.splitlines()[-1] == "SUCCEEDED"


def test_submit_in_transaction_leaves_no_job_of_a_refused_order(up: Up, tree: str) -> None:
    refused, submitted = up.run("examples/submit_in_transaction.py", tree).splitlines()

    assert refused == "order refused; jobs of hasty: 0"
    assert up.jobservice("show", submitted.split()[-1])["tenant"] == "acme"


def test_submit_bare_amqp_prints_the_answer_and_stop_bare_amqp_the_status(up: Up, tree: str) -> None:
    (job_id,) = json.loads(up.run("examples/submit_bare_amqp.py", tree))["job_ids"]
    held = up.tell("submit", "ChecksumTree", "-p", f"root={tree}", "--tenant", "acme", "--pending")

    (stopped,) = json.loads(up.run("examples/stop_bare_amqp.py", held.strip()))["results"]

    assert up.jobservice("show", job_id)["priority"] == 100
    assert (stopped["status"], stopped["accepted"]) == ("ABORTED", True)


def test_submit_sql_stores_the_invoice_and_its_job_together(up: Up) -> None:
    async def execute() -> tuple[int, int]:
        connection = await asyncpg.connect(up.database_url)
        try:
            await connection.execute((EXAMPLES / "submit.sql").read_text())
            return (
                await connection.fetchval("SELECT count(*) FROM invoices"),
                await connection.fetchval(
                    "SELECT count(*) FROM jobservice.job_info WHERE parameters->'arguments' ? '4711'"
                ),
            )
        finally:
            await connection.close()

    assert asyncio.run(execute()) == (1, 1)


def test_subscribe_books_each_change_once_and_goes_on_where_it_stopped(up: Up, tree: str, tmp_path: Path) -> None:
    program = ("examples/subscribe.py", str(tmp_path / "books.db"))
    submit = ("submit", "ChecksumTree", "-p", f"root={tree}", "--tenant", "acme")
    first = up.start(*program)
    lines_until(first, "subscribed")
    seen_id = up.jobservice(*submit)["job_id"]
    seen = lines_until(first, f"{seen_id} 4 SUCCEEDED")

    first.kill()
    first.wait(SECONDS)
    missed_id = up.jobservice(*submit, "--wait")["job_id"]
    second = up.start(*program)
    missed = lines_until(second, f"{missed_id} 4 SUCCEEDED")
    second.send_signal(signal.SIGINT)
    second.wait(SECONDS)

    changes = ["2 TO_BE_RUN", "3 RUNNING", "4 SUCCEEDED"]
    assert [line for line in seen if line.startswith(seen_id)] == [f"{seen_id} {change}" for change in changes]
    assert [line for line in missed if line.startswith(missed_id)] == [f"{missed_id} {change}" for change in changes]
    assert not [line for line in missed if line.startswith(seen_id)]


def test_subscribe_bare_amqp_sees_ends_only_and_its_queue_keeps_them_while_it_is_away(up: Up, tree: str) -> None:
    submit = ("submit", "ChecksumTree", "-p", f"root={tree}", "--tenant", "acme", "--wait")
    first = up.start("examples/subscribe_bare_amqp.py")
    lines_until(first, "subscribed")
    first.send_signal(signal.SIGINT)
    first.wait(SECONDS)

    job_id = up.jobservice(*submit)["job_id"]
    second = up.start("examples/subscribe_bare_amqp.py")
    lines = lines_until(second, f"{job_id} 4 SUCCEEDED")
    second.send_signal(signal.SIGINT)
    second.wait(SECONDS)

    assert [line for line in lines if line.startswith(job_id)] == [f"{job_id} 4 SUCCEEDED"]


@pytest.mark.skipif(shutil.which("psql") is None, reason="no psql on the PATH")
def test_psql_takes_submit_sql_as_its_first_line_says(up: Up) -> None:
    drop = "DROP TABLE IF EXISTS invoices"

    for arguments in (["-c", drop], ["-f", str(EXAMPLES / "submit.sql")]):
        ended = subprocess.run(
            ["psql", "-v", "ON_ERROR_STOP=1", up.database_url, *arguments],
            capture_output=True, text=True, timeout=SECONDS, check=False,
        )  # fmt: skip
        assert ended.returncode == 0, ended.stderr

    assert "job_id" in ended.stdout
