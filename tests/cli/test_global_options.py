"""The command line as a whole: options stand where one likes, and mistakes end as the contract says."""

from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from jobservice.cli.main import build

NOWHERE = "postgresql://127.0.0.1:1/none"
COMMANDS = [
    *("daemon", "up", "submit", "list", "show", "stop", "enqueue", "restart", "rerun", "lock", "unlock", "update"),
    *("wait", "watch", "daemons", "rejected", "subscription", "tenant", "queue", "schema", "doctor"),
]


@pytest.fixture(autouse=True)
def bare_surroundings(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    import os

    for name in list(os.environ):
        if name.startswith("JOBSERVICE_"):
            monkeypatch.delenv(name)
    monkeypatch.chdir(tmp_path)


def run(*arguments: str) -> Result:
    return CliRunner().invoke(build(), list(arguments))


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_of_the_contract_explains_itself(name: str) -> None:
    result = run(name, "--help")

    assert result.exit_code == 0
    assert name in result.stdout


@pytest.mark.parametrize(
    "arguments", [("--database-url", NOWHERE, "list"), ("list", "--database-url", NOWHERE)], ids=["before", "after"]
)
def test_a_global_option_counts_before_and_after_the_command(arguments: tuple[str, ...]) -> None:
    result = run(*arguments)

    assert result.exit_code == 7
    assert "127.0.0.1" in result.stderr
    assert result.stdout == ""


def test_the_option_after_the_command_wins() -> None:
    result = run("--database-url", "mysql://first", "list", "--database-url", NOWHERE)

    assert result.exit_code == 7


@pytest.mark.parametrize(
    "arguments",
    [
        ("nosuch",),
        ("submit",),
        ("list", "--status", "NOPE"),
        ("show", "no-id"),
        ("submit", "X", "-p", "name"),
        ("submit", "X", "--priority", "HUGE"),
        ("submit", "X", "--expires", "2026-01-31T12:00:00"),
        ("stop",),
        ("stop", "00000000-0000-0000-0000-000000000000", "--tenant", "acme"),
        ("update", "00000000-0000-0000-0000-000000000000"),
        ("tenant", "limit", "acme"),
        ("rejected", "drop"),
        ("list", "--config", "/none.toml"),
        ("list", "--database-url", "mysql://host/db"),
        ("list",),
    ],
    ids=" ".join,
)
def test_bad_usage_ends_with_2_and_words_on_stderr(arguments: tuple[str, ...]) -> None:
    result = run("--amqp-url", "amqp://127.0.0.1:1/", *arguments)

    assert result.exit_code == 2, result.stderr
    assert result.stderr
    assert "Traceback" not in result.stderr
    assert result.stdout == ""


def test_a_broker_that_is_away_ends_with_8_when_the_database_is_not_used(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("jobservice.client.broker.CONNECT_TIMEOUT", 0.2)

    result = run("watch", "--amqp-url", "amqp://127.0.0.1:1/")

    assert result.exit_code == 8


def test_the_schema_is_printed_under_the_name_that_is_set(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("JOBSERVICE_DATABASE__SCHEMA", "elsewhere")

    result = run("schema", "print")

    assert result.exit_code == 0
    assert "CREATE SCHEMA IF NOT EXISTS elsewhere" in result.stdout


def test_the_version_is_printed() -> None:
    assert run("--version").stdout.startswith("jobservice ")
