"""Which servers are taken: those given or none, and what is told when there are none."""

import os
from pathlib import Path

import pytest

from jobservice.domain.errors import BrokerUnavailable, ConfigurationError, DatabaseUnavailable, ServerStartError
from jobservice.servers import rabbitmq_fetch
from jobservice.servers.account import Account
from jobservice.servers.detect import servers
from jobservice.servers.ports import free_ports
from jobservice.servers.postgres_binaries import find_postgres
from jobservice.servers.rabbitmq_installation import find_or_fetch_rabbitmq
from jobservice.testing.backend import choose

OURSELVES = Account(None, None)


def test_a_given_database_that_does_not_answer_is_an_error_and_no_server_is_started() -> None:
    announced: list[str] = []
    [port] = free_ports(1)

    with (
        pytest.raises(DatabaseUnavailable, match=str(port)) as caught,
        servers(database_url=f"postgresql://jobs:secret@127.0.0.1:{port}/x", announce=announced.append),
    ):
        pass

    assert announced == []
    assert "secret" not in str(caught.value)


def test_a_given_broker_that_does_not_answer_is_an_error(amqp_url: str, database_url: str) -> None:
    [port] = free_ports(1)

    with (
        pytest.raises(BrokerUnavailable, match=str(port)),
        servers(database_url=database_url, amqp_url=f"amqp://127.0.0.1:{port}/", announce=print),
    ):
        pass


def test_given_servers_are_used_as_they_are_and_announced_without_passwords(amqp_url: str, database_url: str) -> None:
    announced: list[str] = []

    with servers(database_url=database_url, amqp_url=amqp_url, announce=announced.append) as found:
        assert (found.database_url, found.amqp_url, found.stack) == (database_url, amqp_url, None)

    assert [line.split(":")[0] for line in announced] == ["database", "broker"]
    assert not any("@" in line for line in announced)


def test_each_service_is_decided_by_itself(amqp_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    announced: list[str] = []
    monkeypatch.setenv("JOBSERVICE_AMQP_URL", amqp_url)
    monkeypatch.delenv("JOBSERVICE_DATABASE_URL", raising=False)

    with servers(announce=announced.append) as found:
        assert found.amqp_url == amqp_url
        assert found.database_url.endswith("/postgres")

    assert [line.split(",")[-1].strip().split(" ")[0] for line in announced] == ["as", "on"]


def test_programs_that_are_named_and_do_not_work_are_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("JOBSERVICE_PG_BIN", str(tmp_path))
    monkeypatch.setenv("JOBSERVICE_RMQ_ROOT", str(tmp_path))

    with pytest.raises(ServerStartError, match=str(tmp_path)):
        find_postgres(OURSELVES)
    with pytest.raises(ServerStartError, match="JOBSERVICE_RMQ_ROOT"):
        find_or_fetch_rabbitmq(print)


def test_a_database_older_than_the_oldest_supported_is_refused_by_its_version(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("initdb", "postgres"):
        (tmp_path / name).write_text("#!/bin/sh\necho 'postgres (PostgreSQL) 14.9'\n")
        (tmp_path / name).chmod(0o755)
    monkeypatch.setenv("JOBSERVICE_PG_BIN", str(tmp_path))

    with pytest.raises(ServerStartError, match=r"14\.9 is older than 15"):
        find_postgres(OURSELVES)


def test_a_fetch_that_is_forbidden_names_three_other_ways(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))

    with pytest.raises(rabbitmq_fetch.FetchError) as caught:
        rabbitmq_fetch.fetch(offline=True, announce=print)

    assert all(way in str(caught.value) for way in ("brew install", "docker compose up", "JOBSERVICE_AMQP_URL"))
    assert list(tmp_path.iterdir()) == []


def test_a_fetch_without_apt_names_the_same_ways(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setenv("PATH", str(tmp_path))

    with pytest.raises(rabbitmq_fetch.FetchError, match="no apt"):
        rabbitmq_fetch.fetch(offline=False, announce=print)


def test_a_forced_test_backend_never_falls_back(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("JOBSERVICE_TEST_BACKEND", "url")
    monkeypatch.delenv("JOBSERVICE_TEST_DATABASE_URL", raising=False)
    with pytest.raises(ConfigurationError, match="JOBSERVICE_TEST_DATABASE_URL"):
        choose("database")

    monkeypatch.setenv("JOBSERVICE_TEST_BACKEND", "docker")
    monkeypatch.setenv("DOCKER_HOST", f"unix://{os.devnull}")
    with pytest.raises(ConfigurationError, match="no container engine answers"):
        choose("database")
