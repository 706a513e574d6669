"""A daemon with nothing to do leaves PostgreSQL in peace, and is awake at once when there is something."""

import time

from daemons import Books, Daemons, Recorder, until
from outages import Outage


async def test_an_idle_daemon_sends_less_than_five_statements_a_second_over_at_most_four_connections(
    daemons: Daemons, database: Outage, books: Books
) -> None:
    running = await daemons.start(daemon={"heartbeat": 3.0, "lease": 15.0, "poll": 1.0})
    await until(lambda: is_idle(books), "the daemon has marked itself idle")
    begun, statements = time.monotonic(), database.statements
    beats = await books.value("SELECT counter FROM jobservice.daemon WHERE id = $1", running.id)

    async def beaten() -> bool:
        return bool(
            await books.value("SELECT counter >= $2 FROM jobservice.daemon WHERE id = $1", running.id, beats + 2)
        )

    await until(beaten, "two more heartbeats: all that it does by the clock has come")

    assert (database.statements - statements) / (time.monotonic() - begun) < 5
    assert 0 < database.connections <= 4


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
