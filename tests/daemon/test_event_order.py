"""Events of one job never overtake each other, whoever tells them; memory is bounded, and nothing stays unpublished."""

import asyncio
from dataclasses import replace
from uuid import UUID, uuid4

import asyncpg
import pytest
from daemons import Books, Daemons, Recorder, Running, until
from outages import Outage

from jobservice import JobInfoService
from jobservice.sdk.registry import Registry

HAND_OVERS = 240


def knows_nothing() -> Registry:
    return Registry.load([])


@pytest.mark.parametrize("away", [False, True], ids=["both publish", "the first has no broker"])
async def test_hand_overs_between_daemons_never_overtake(
    daemons: Daemons, broker: Outage, books: Books, recorder: Recorder, away: bool
) -> None:
    direct = replace(daemons, amqp_url=broker.straight_url, running=daemons.running)
    knowing = await direct.start(pool={"capacity": 20})
    file = daemons.directory / "go"
    held_back = await books.submit_many([{"job_class": "Waits", "parameters": {"file": file}} for _ in range(20)])
    for job_id in held_back:
        await books.is_in(job_id, "RUNNING")
    if away:
        broker.away()

    ids = await books.submit_many([{"job_class": "NoOp"} for _ in range(HAND_OVERS)])
    await daemons.start(registry=knows_nothing(), pool={"capacity": HAND_OVERS})
    await until(lambda: _claimed(books, ids), "the daemon that knows nothing has claimed all")
    file.touch()

    await books.all_final()
    await recorder.complete(books)
    broker.back()
    await books.all_published()
    handed_back = ["TO_BE_RUN", "QUEUED", "TO_BE_RUN", "RUNNING", "SUCCEEDED"]
    assert all(recorder.statuses(job_id) == handed_back for job_id in ids)
    assert not knowing.task.done()


async def _claimed(books: Books, ids: list[UUID]) -> bool:
    query = "SELECT count(*) = cardinality($1::uuid[]) FROM jobservice.job_info WHERE id = ANY ($1::uuid[]) AND run > 0"
    return bool(await books.value(query, ids))


async def test_a_restart_is_told_between_the_end_before_and_the_claim_after_it(
    daemons: Daemons, books: Books, recorder: Recorder
) -> None:
    await daemons.start()
    await daemons.start()
    ids = await books.submit_many([{"job_class": "Raises"} for _ in range(100)])
    await books.all_final()

    async with JobInfoService.connect(daemons.database_url) as jobs:
        for some in (ids[:1], ids[1:50], ids[50:]):
            await jobs.restart(*some)
    await until(lambda: _all_failed_twice(books), "all have failed twice")

    await recorder.complete(books, ends=2)
    once = ["TO_BE_RUN", "RUNNING", "FAILED"]
    assert all(recorder.statuses(job_id) == [*once, "QUEUED", *once] for job_id in ids)
    await books.all_published()


async def _all_failed_twice(books: Books) -> bool:
    query = "SELECT bool_and(status = 'FAILED' AND run = 2) FROM jobservice.job_info"
    return bool(await books.value(query))


@pytest.mark.parametrize("most", [5, 60, 300])
async def test_daemons_whose_memory_is_full_again_and_again_tell_all_from_it_and_from_the_outbox(
    daemons: Daemons, books: Books, recorder: Recorder, monkeypatch: pytest.MonkeyPatch, most: int
) -> None:
    monkeypatch.setattr("jobservice.events.memory.FACTS_IN_MEMORY", most)
    await daemons.start()
    await daemons.start()

    await books.submit_many([{"job_class": "NoOp", "tenant": f"t{n % 5}"} for n in range(400)])

    await books.all_final()
    await recorder.complete(books)
    await books.all_published()


async def test_a_broker_that_confirms_nothing_fills_no_memory_and_nothing_is_lost_when_it_does(
    daemons: Daemons, broker: Outage, books: Books, recorder: Recorder, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("jobservice.events.memory.FACTS_IN_MEMORY", 100)
    running = await daemons.start()
    await recorder.has(await books.submit("NoOp"), "TO_BE_RUN", "RUNNING", "SUCCEEDED")

    broker.freeze()
    await books.submit_many([{"job_class": "NoOp"} for _ in range(200)])
    await books.all_final()

    assert held_facts(running) <= 100
    assert await books.value("SELECT sum(cardinality(job_ids)) FROM jobservice.outbox") >= 600
    broker.thaw()
    await recorder.complete(books)
    await books.all_published()


def held_facts(running: Running) -> int:
    return running.daemon._parts.publishing.relay._memory.facts


async def test_rows_that_cannot_be_told_are_set_aside_and_hold_up_nobody(
    daemons: Daemons, books: Books, recorder: Recorder
) -> None:
    gone = uuid4()
    stopped = [await books.submit("NoOp", queue="nobodys") for _ in range(2)]
    await books.stop(stopped[0])
    await _insert_row(books.connection, stopped[0], statuses=["NO_STATUS"])
    await _insert_row(books.connection, stopped[0], statuses=["ABORTED", "ABORTED"])
    await _insert_row(books.connection, gone, statuses=["ABORTED"])
    await books.stop(stopped[1])

    await daemons.start()

    for job_id in stopped:
        await recorder.has(job_id, "ABORTED")
    await books.all_published()
    rejected = await books.connection.fetch("SELECT reason, content FROM jobservice.outbox_rejected ORDER BY id")
    assert [("NO_STATUS" in row["reason"], "gone" in row["reason"]) for row in rejected] == [
        (True, False), (False, False), (False, True),
    ]  # fmt: skip
    assert str(gone) in rejected[2]["content"]


async def _insert_row(connection: asyncpg.Connection, job_id: UUID, *, statuses: list[str]) -> None:
    await connection.execute(
        """INSERT INTO jobservice.outbox (job_ids, sequences, runs, attempts, statuses, previous, times, priorities,
                                          percents, details)
           VALUES (ARRAY[$1::uuid], '{9}', '{1}', '{1}', $2, '{RUNNING}', ARRAY[now()], '{0}', '{0}', '{NULL}')""",
        job_id,
        statuses,
    )


async def test_what_a_daemon_could_not_tell_when_it_left_another_tells(
    daemons: Daemons,
    broker: Outage,
    books: Books,
    recorder: Recorder,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("jobservice.daemon.daemon.LAST_EVENTS_SECONDS", 0.1)
    broker.away()
    leaving = await daemons.start()
    ids = await books.submit_many([{"job_class": "NoOp"} for _ in range(30)])
    await books.all_final()
    await leaving.leave()
    assert not recorder.events

    daemons.amqp_url = broker.straight_url
    await daemons.start()

    await recorder.complete(books)
    await books.all_published()
    assert all(recorder.statuses(job_id) == ["TO_BE_RUN", "RUNNING", "SUCCEEDED"] for job_id in ids)


async def test_stops_by_clients_are_told_at_once_and_in_place_while_daemons_work(
    daemons: Daemons, books: Books, recorder: Recorder
) -> None:
    await daemons.start(pool={"capacity": 3})
    await daemons.start(pool={"capacity": 3})
    ids = await books.submit_many(
        [{"job_class": "Ticks", "parameters": {"total": 1}, "priority": n} for n in range(200)]
    )

    for n in range(0, 200, 10):
        await books.stop(*ids[n : n + 5])
        await asyncio.sleep(0)

    await books.all_final()
    await recorder.complete(books)
    await books.all_published()
