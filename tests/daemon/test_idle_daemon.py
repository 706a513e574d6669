"""A daemon with nothing to do leaves PostgreSQL in peace, and is awake at once when there is something."""

import time
from pathlib import Path

import pytest
from daemons import Books, Daemons, Recorder, Running, until
from outages import Outage


async def test_an_idle_daemon_sends_less_than_five_statements_a_second_over_at_most_four_connections(
    daemons: Daemons, database: Outage, books: Books
) -> None:
    running = await daemons.start(daemon={"heartbeat": 3.0, "lease": 15.0, "poll": 1.0})
    await until(lambda: is_idle(books), "the daemon has marked itself idle")
    await beats(books, running, 1)  # it looks a few times more for who has submitted meanwhile: that is over then
    begun, statements = time.monotonic(), database.statements

    await beats(books, running, 2)  # all that it does by the clock has come

    assert (database.statements - statements) / (time.monotonic() - begun) < 5
    assert 0 < database.connections <= 4


async def beats(books: Books, running: Running, times: int) -> None:
    """Waits for so many heartbeats."""
    counter = "SELECT counter FROM jobservice.daemon WHERE id = $1"
    wanted = await books.value(counter, running.id) + times

    async def beaten() -> bool:
        return bool(await books.value(counter, running.id) >= wanted)

    await until(beaten, f"{times} more heartbeats")


async def is_idle(books: Books) -> bool:
    return bool(await books.value("SELECT bool_and(idle) FROM jobservice.daemon"))


async def test_a_submission_wakes_an_idle_daemon_long_before_its_next_look(
    daemons: Daemons, books: Books, recorder: Recorder
) -> None:
    await daemons.start(daemon={"poll": 60.0, "heartbeat": 10.0, "lease": 30.0})

    for _ in range(20):
        await until(lambda: is_idle(books), "the daemon has marked itself idle")
        job_id = await books.submit("NoOp")
        await books.is_in(job_id, "SUCCEEDED", seconds=20)  # a third of the poll

    await recorder.complete(books)


async def has_no_more_looks(running: Running) -> bool:
    """Whether its last look for jobs is longer ago than any but the poll would come."""
    claimed_at = running.daemon._parts.scheduler.claimed_at
    return claimed_at is not None and time.monotonic() - claimed_at > 0.5


@pytest.mark.parametrize("limited", ["tenant", "queue"])
async def test_what_a_limit_holds_back_begins_when_the_run_before_it_has_ended_and_not_at_the_next_look(
    daemons: Daemons, books: Books, tmp_path: Path, limited: str
) -> None:
    running = await daemons.start(daemon={"poll": 60.0, "heartbeat": 10.0, "lease": 30.0})
    await books.connection.execute(
        f"INSERT INTO jobservice.{limited} ({limited}, max_running) VALUES ('default', 1) "
        f"ON CONFLICT ({limited}) DO UPDATE SET max_running = 1"
    )
    files = [tmp_path / str(n) for n in range(3)]

    ids = await books.submit_many([{"job_class": "Waits", "parameters": {"file": file}} for file in files])

    for job_id, file in zip(ids, files, strict=True):
        await books.is_in(job_id, "RUNNING", seconds=20)  # a third of the poll
        await until(lambda: has_no_more_looks(running), "only an end or the poll can bring the next")
        file.touch()
