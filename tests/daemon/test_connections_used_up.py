"""PostgreSQL has no connection left for a daemon: it waits, says why, asks calmly, and goes on when there is room."""

import secrets
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any

import asyncpg
import pytest
from daemons import Books, Daemons, Recorder, Running, until
from outages import Outage
from structlog.testing import capture_logs
from yarl import URL

SESSIONS = 4
"""A daemon's."""


@dataclass
class Account:
    """A role that is no superuser, so that its connections can be limited."""

    name: str
    url: str
    connection: asyncpg.Connection
    """Another role's, which always finds room."""

    async def limit(self, connections: int) -> None:
        await self.connection.execute(f"ALTER ROLE {self.name} CONNECTION LIMIT {connections}")

    async def end_sessions_of_daemons(self) -> None:
        await self.connection.execute(
            """SELECT pg_terminate_backend(pid) FROM pg_stat_activity
               WHERE usename = $1 AND application_name LIKE 'jobservice %'""",
            self.name,
        )


@pytest.fixture
async def account(daemons: Daemons, books: Books) -> AsyncIterator[Account]:
    """The role that this test's daemons connect as."""
    name, password = f"daemon_{secrets.token_hex(6)}", secrets.token_hex(16)
    await books.connection.execute(f"CREATE ROLE {name} LOGIN PASSWORD '{password}' IN ROLE CURRENT_USER")
    daemons.database_url = str(URL(daemons.database_url).with_user(name).with_password(password))
    account = Account(name, daemons.database_url, books.connection)
    yield account
    await account.limit(-1)
    await daemons.end()
    await books.connection.execute(f"DROP ROLE {name}")


async def says(running: Running, *, ok: bool, because: str | None) -> dict[str, Any]:
    """Waits until /readyz says so."""

    async def told() -> dict[str, Any] | None:
        status, facts = await running.asked()
        why = facts["database_error"]
        fits = why is None if because is None else because in (why or "")
        return facts if fits and (status == 200, facts["database"]) == (ok, ok) else None

    return await until(told, f"/readyz says {ok}, {because}")


async def test_a_daemon_whose_sessions_find_no_room_keeps_its_runs_says_why_and_writes_them_when_there_is(
    daemons: Daemons, account: Account, database: Outage, books: Books, recorder: Recorder
) -> None:
    running = await daemons.start()
    file = daemons.directory / "go"
    ids = [await books.submit("Waits", {"file": file}) for _ in range(5)]
    for job_id in ids:
        await books.is_in(job_id, "RUNNING")
    foreign = [await asyncpg.connect(account.url) for _ in range(SESSIONS)]
    await account.limit(SESSIONS)  # all in use: what stands may stay, nothing comes in

    with capture_logs() as logs:
        await account.end_sessions_of_daemons()
        begun, tried = time.monotonic(), len(database._lines)
        file.touch()
        await says(running, ok=False, because="too many connections")
        await until(lambda: _none_runs(running), "all runs ended")
        await until(lambda: _failed(running, 20), "every loop has asked again and again")
        tries, elapsed = len(database._lines) - tried, time.monotonic() - begun
        statuses = [(await books.job(job_id))["status"] for job_id in ids]
        for connection in foreign:
            await connection.close()

        await books.all_final()
        await says(running, ok=True, because=None)

    await recorder.complete(books)
    await books.all_published()
    jobs = [await books.job(job_id) for job_id in ids]
    assert statuses == ["RUNNING"] * 5
    assert {(job["status"], job["run"], job["daemon_id"]) for job in jobs} == {("SUCCEEDED", 1, running.id)}
    assert any("too many connections" in line["reason"] for line in logs if line["event"] == "loop.fail")
    assert any("too many connections" in line["reason"] for line in logs if line["event"] == "heartbeat.miss")
    loops = len(running.daemon._parts.loops) + 1  # and the heartbeat; each waits 0.2 s here once it has failed thrice
    assert tries <= loops * (elapsed / 0.2 + 4)


async def _none_runs(running: Running) -> bool:
    return not running.daemon._parts.pool.running


async def _failed(running: Running, times: int) -> bool:
    loops = {loop.name: loop.failures for loop in running.daemon._parts.loops}
    return min(loops["scheduler"], loops["writer"], loops["watch"]) >= times


async def test_a_daemon_that_gets_three_of_its_four_connections_is_not_ready_and_loses_nothing(
    daemons: Daemons, account: Account, books: Books, recorder: Recorder
) -> None:
    running = await daemons.start()
    await recorder.has(await books.submit("NoOp"), "TO_BE_RUN", "RUNNING", "SUCCEEDED")

    await account.limit(SESSIONS - 1)
    await account.end_sessions_of_daemons()
    ids = await books.submit_many([{"job_class": "NoOp"} for _ in range(30)])
    await says(running, ok=False, because="too many connections")
    await account.limit(SESSIONS)

    await books.all_final()
    await says(running, ok=True, because=None)
    await recorder.complete(books)
    await books.all_published()
    assert all(recorder.statuses(job_id) == ["TO_BE_RUN", "RUNNING", "SUCCEEDED"] for job_id in ids)
    assert not running.task.done()


async def test_a_daemon_that_finds_no_room_at_its_start_waits_and_says_why(
    daemons: Daemons, account: Account, books: Books
) -> None:
    await account.limit(0)
    job_id = await books.submit("NoOp")

    with capture_logs() as logs:
        running = daemons.begin()
        await says(running, ok=False, because="too many connections")
        await account.limit(-1)
        await books.is_in(job_id, "SUCCEEDED")
        await says(running, ok=True, because=None)

    told = [line["reason"] for line in logs if line["event"] == "daemon.wait_for_database"]
    assert len(told) == 1
    assert "too many connections" in told[0]
