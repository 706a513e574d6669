"""Reports of single runs are written at once; in a stream they gather, and none is left waiting."""

from dataclasses import replace
from types import SimpleNamespace
from typing import Any
from uuid import UUID

import asyncpg
import pytest
from factory import held_run, make_job

from jobservice.domain.outcomes import Succeeded
from jobservice.domain.states import JobStatus
from jobservice.lifecycle.flush_throttle import ALLOWANCE, LONGEST_GATHERING, MANY
from jobservice.lifecycle.status_writer import StatusWriter


class Clock:
    """Each look at it takes a millisecond, as long as a flush."""

    def __init__(self) -> None:
        self.now = 100.0

    def monotonic(self) -> float:
        self.now += 0.001
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    made = Clock()
    for module in ("status_writer", "flush_throttle"):
        monkeypatch.setattr(f"jobservice.lifecycle.{module}.time", SimpleNamespace(monotonic=made.monotonic))
    return made


async def end(connection: asyncpg.Connection, daemon: UUID, writer: StatusWriter, count: int = 1) -> None:
    for _ in range(count):
        job_id = await make_job(connection, JobStatus.RUNNING, daemon=daemon)
        writer.finish(held_run(job_id, 1), Succeeded())


async def until_ends_gather(connection: asyncpg.Connection, daemon: UUID, writer: StatusWriter) -> float:
    """Single ends in a stream, until one waits; for how long."""
    while not (wait := await writer.run_in_turn()):
        await end(connection, daemon, writer)
    return wait


async def test_ends_that_come_now_and_then_are_written_at_once(
    connection: asyncpg.Connection, daemon: UUID, writer_of: Any, clock: Clock
) -> None:
    writer, told = writer_of(daemon)

    for _ in range(10):
        await end(connection, daemon, writer)
        await writer.run_in_turn()
        clock.now += 0.01

    assert len(told.settled_runs) == 10


async def test_single_ends_in_a_stream_gather_until_the_writer_may_go_on(
    connection: asyncpg.Connection, daemon: UUID, writer_of: Any, clock: Clock
) -> None:
    writer, told = writer_of(daemon)

    wait = await until_ends_gather(connection, daemon, writer)
    written = len(told.settled_runs)
    await end(connection, daemon, writer, 3)
    clock.now += wait
    await writer.run_in_turn()

    assert 2 <= written <= 10
    assert wait <= LONGEST_GATHERING + ALLOWANCE
    assert len(told.settled_runs) == written + 4


async def test_ends_that_claims_wait_for_do_not_gather(
    connection: asyncpg.Connection, daemon: UUID, writer_of: Any, clock: Clock
) -> None:
    writer, told = writer_of(daemon)
    writer._throttle._awaited = lambda: True

    for _ in range(10):
        await end(connection, daemon, writer)
        await writer.run_in_turn()

    assert len(told.settled_runs) == 10


async def test_the_end_of_a_run_whose_key_others_wait_for_does_not_gather_and_takes_the_others_along(
    connection: asyncpg.Connection, daemon: UUID, writer_of: Any, clock: Clock
) -> None:
    writer, told = writer_of(daemon)
    await until_ends_gather(connection, daemon, writer)
    written = len(told.settled_runs)
    job_id = await make_job(connection, JobStatus.RUNNING, daemon=daemon)

    writer.finish(replace(held_run(job_id, 1), has_key=True), Succeeded())
    await writer.run_in_turn()

    assert len(told.settled_runs) == written + 2


async def test_many_ends_are_written_at_once_and_wake_the_writer_whatever_was_flushed_before(
    connection: asyncpg.Connection, daemon: UUID, writer_of: Any, clock: Clock
) -> None:
    writer, told = writer_of(daemon)
    await until_ends_gather(connection, daemon, writer)
    before = len(told.settled_runs)

    await end(connection, daemon, writer, MANY)
    wait = await writer.run_in_turn()

    assert not wait
    assert len(told.settled_runs) >= before + MANY
    assert clock.now < 101, "nothing was waited for"


async def test_a_flush_that_itself_waited_long_does_not_hold_up_the_next(
    connection: asyncpg.Connection, daemon: UUID, writer_of: Any, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    writer, told = writer_of(daemon)
    write = writer._flushing.write

    async def write_late(*given: Any) -> Any:
        clock.now += 5.0
        return await write(*given)

    monkeypatch.setattr(writer._flushing, "write", write_late)

    for _ in range(3):
        await end(connection, daemon, writer)
        await writer.run_in_turn()

    assert len(told.settled_runs) == 3
