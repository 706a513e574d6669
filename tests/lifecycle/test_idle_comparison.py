"""A daemon that has nothing compares seldom, and at once where an answer was lost."""

from collections.abc import AsyncIterator
from typing import Any
from uuid import UUID

import asyncpg
import pytest
import structlog
from factory import make_job, row_of

from jobservice.domain.states import JobStatus
from jobservice.leases.comparison import SPARED, Comparison
from jobservice.lifecycle.status_writer import StatusWriter
from jobservice.pool.in_flight import InFlight
from jobservice.store.daemons import Daemons
from jobservice.store.outbox import Outbox
from jobservice.store.session import Session


class CountedSession(Session):
    """Counts how often it is used."""

    uses = 0

    def use(self) -> Any:
        self.uses += 1
        return super().use()


class RelayStub:
    """A relay that holds nothing."""

    behind = False

    def holds(self, outbox_id: int) -> bool:
        return False

    def catch_up(self, reason: str) -> None:
        raise AssertionError(reason)


@pytest.fixture
async def session(database_url: str) -> AsyncIterator[CountedSession]:
    session = CountedSession(url=database_url, name="compared")
    yield session
    await session.close()


@pytest.fixture
def writer(writer_of: Any, daemon: UUID) -> StatusWriter:
    writer: StatusWriter = writer_of(daemon)[0]
    return writer


@pytest.fixture
def comparison(session: CountedSession, writer: StatusWriter, daemon: UUID) -> Comparison:
    return Comparison(
        session=session, daemons=Daemons(schema="jobservice"), outbox=Outbox(schema="jobservice"), daemon_id=daemon,
        in_flight=InFlight(log=structlog.get_logger(), released=lambda _: None), writer=writer,
        relay=RelayStub(),
    )  # fmt: skip


async def test_a_daemon_that_has_nothing_compares_at_every_third_heartbeat(
    comparison: Comparison, session: CountedSession
) -> None:
    await comparison.run_once()
    session.uses = 0

    for _ in range(3 * (SPARED + 1)):
        await comparison.run_once()

    assert session.uses == 3


async def test_in_doubt_an_idle_daemon_compares_at_once(
    comparison: Comparison, connection: asyncpg.Connection, writer: StatusWriter, daemon: UUID
) -> None:
    await comparison.run_once()
    job_id = await make_job(connection, JobStatus.TO_BE_RUN, daemon=daemon)

    comparison.doubt()
    await comparison.run_once()
    await writer.run_once()

    assert (await row_of(connection, job_id))["status"] == "QUEUED"


async def test_what_it_finds_keeps_it_comparing(
    comparison: Comparison, connection: asyncpg.Connection, session: CountedSession, daemon: UUID
) -> None:
    await make_job(connection, JobStatus.TO_BE_RUN, daemon=daemon)
    await comparison.run_once()
    session.uses = 0

    await comparison.run_once()

    assert session.uses == 1
