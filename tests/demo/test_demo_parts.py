"""The parts of the demo that need servers, each alone: what it puts on them goes, and its daemon says what is wrong."""

from pathlib import Path

import aiormq
import asyncpg
import pytest
from typer.testing import CliRunner

from jobservice.broker.topology import declare
from jobservice.cli.main import build
from jobservice.client.service import JobInfoService
from jobservice.demo import run
from jobservice.demo.daemon_process import DaemonProcess
from jobservice.demo.failed import DemoFailed
from jobservice.demo.installation import Installation


@pytest.fixture
def installation(database_url: str, amqp_url: str, tmp_path: Path) -> Installation:
    return Installation(
        database_url=database_url,
        amqp_url=amqp_url,
        packages=("jobservice.demo.jobs",),
        workspace=tmp_path / "workspace",
        configuration=tmp_path / "empty.toml",
        database_is_private=False,
        broker_is_private=False,
    )


async def test_what_it_puts_on_given_servers_is_there_inside_the_block_and_gone_after_it(
    installation: Installation, database_url: str, amqp_url: str
) -> None:
    connection = await asyncpg.connect(database_url)
    with pytest.raises(ZeroDivisionError):
        async with installation.there():
            await declare_all(installation)
            declared = await is_declared(amqp_url, "queue_declare", installation.names.control)
            inside = await connection.fetchval("SELECT to_regnamespace($1) IS NOT NULL", installation.schema)
            raise ZeroDivisionError

    after = await connection.fetchval("SELECT to_regnamespace($1) IS NOT NULL", installation.schema)
    await connection.close()
    assert (inside, declared, after) == (True, True, False)
    names = installation.names
    for queue in (names.submissions, names.control, names.rejected):
        assert not await is_declared(amqp_url, "queue_declare", queue)
    for exchange in (names.events, names.submit, names.command):
        assert not await is_declared(amqp_url, "exchange_declare", exchange)


async def test_a_daemon_that_cannot_start_is_told_with_its_last_lines(database_url: str, tmp_path: Path) -> None:
    with DaemonProcess(tmp_path) as daemon:
        async with JobInfoService.connect(database_url) as jobs, daemon.going({"JOBSERVICE_POOL__CAPACITY": "many"}):
            with pytest.raises(DemoFailed, match=r"(?s)ended before it was ready.*capacity"):
                await daemon.until_ready(jobs)


def test_a_check_that_does_not_hold_makes_the_exit_status_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(run, "run_demo", lambda **_: False)

    assert CliRunner().invoke(build(), ["demo"]).exit_code == 1


def test_checks_that_hold_make_it_zero(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(run, "run_demo", lambda **_: True)

    assert CliRunner().invoke(build(), ["demo"]).exit_code == 0


def test_a_demo_that_cannot_be_played_says_why_and_ends_with_one(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(**_: object) -> bool:
        raise DemoFailed("the daemon ended; it said: no luck")

    monkeypatch.setattr(run, "run_demo", fail)

    result = CliRunner().invoke(build(), ["demo"])

    assert result.exit_code == 1
    assert "no luck" in result.stderr


async def declare_all(installation: Installation) -> None:
    connection = await aiormq.connect(installation.amqp_url)
    await declare(await connection.channel(), installation.names)
    await connection.close()


async def is_declared(amqp_url: str, verb: str, name: str) -> bool:
    connection = await aiormq.connect(amqp_url)
    try:
        channel = await connection.channel()
        await getattr(channel, verb)(name, passive=True)
    except aiormq.ChannelNotFoundEntity:
        return False
    finally:
        await connection.close()
    return True
