"""One server for all processes of a test session."""

from pathlib import Path
from threading import Thread

import psycopg
import pytest

from jobservice.testing.backend import SharedServers


@pytest.fixture(autouse=True)
def private_servers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("JOBSERVICE_TEST_BACKEND", "local")


def test_two_workers_share_one_server_and_the_starter_waits_for_the_other(tmp_path: Path) -> None:
    starter, other = SharedServers(tmp_path), SharedServers(tmp_path)
    url = starter.url("database")
    assert other.url("database") == url

    ending = Thread(target=starter.close)
    ending.start()
    ending.join(timeout=0.3)
    with psycopg.connect(url) as connection:
        assert connection.execute("SELECT 1").fetchone() == (1,)
    other.close()
    ending.join()

    with pytest.raises(psycopg.OperationalError):
        psycopg.connect(url)


def test_a_worker_that_comes_after_the_end_starts_a_server_of_its_own(tmp_path: Path) -> None:
    first, late = SharedServers(tmp_path), SharedServers(tmp_path)
    first.url("database")
    first.close()

    url = late.url("database")

    with psycopg.connect(url) as connection:
        assert connection.execute("SELECT 1").fetchone() == (1,)
    late.close()
