"""The command line, called in this process as a user types it; a conftest imports the fixture."""

from collections.abc import Callable
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from jobservice.cli.main import build

Run = Callable[..., Result]


@pytest.fixture
def run(database_url: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Run:
    """Call the command line with a database, in an empty directory."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("JOBSERVICE_DATABASE_URL", database_url)
    for name in ("JOBSERVICE_AMQP_URL", "JOBSERVICE_CONFIG"):
        monkeypatch.delenv(name, raising=False)
    return lambda *arguments: CliRunner().invoke(build(), list(arguments))
