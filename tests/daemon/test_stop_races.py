"""A stop at any moment of a job's life, by every way in: none is lost, and none writes over an end."""

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from itertools import cycle
from uuid import UUID, uuid4

import aiormq
import asyncpg
import pytest
from daemons import Books, Daemons, Recorder

from jobservice import JobInfoService
from jobservice.broker.names import BrokerNames
from jobservice.broker.topology import declare
from jobservice.domain.errors import NotLegal

Stop = Callable[[UUID], Awaitable[None]]


@pytest.fixture
async def ways(daemons: Daemons, books: Books, recorder: Recorder) -> AsyncIterator[dict[str, Stop]]:
    """The ways to ask for a stop: SQL, a raw message to the control queue, the client with and without a database."""
    assert recorder.connection is not None
    channel = await recorder.connection.channel()
    await declare(channel, BrokerNames(prefix=daemons.prefix))  # what is sent before a daemon is ready waits for it
    exchange = f"{daemons.prefix}.command"

    turn = asyncio.Lock()  # one connection, several stops at a time

    async def by_sql(job_id: UUID) -> None:
        async with turn:
            await books.value("SELECT jobservice.stop($1, 'by hand')", job_id)

    async def by_message(job_id: UUID) -> None:
        body = json.dumps({"command": "stop", "job_id": str(job_id), "reason": "by hand"}).encode()
        properties = aiormq.spec.Basic.Properties(message_id=str(uuid4()), delivery_mode=2)
        await channel.basic_publish(body, exchange=exchange, routing_key="default", properties=properties)

    async with (
        JobInfoService.connect(daemons.database_url) as with_database,
        JobInfoService.connect(amqp_url=daemons.amqp_url, prefix=daemons.prefix) as with_broker,
    ):

        async def by_client(job_id: UUID) -> None:
            await with_database.stop(job_id, reason="by hand")

        async def by_client_without_database(job_id: UUID) -> None:
            await with_broker.stop(job_id, reason="by hand")

        yield {"sql": by_sql, "message": by_message, "client": by_client, "broker": by_client_without_database}


WAYS = ["sql", "message", "client", "broker"]


async def test_a_running_job_is_stopped_in_whatever_way_on_the_loop_and_on_a_thread(
    daemons: Daemons, books: Books, recorder: Recorder, ways: dict[str, Stop]
) -> None:
    await daemons.start()
    on_loop = {way: await books.submit("Forever") for way in WAYS}
    on_thread = {way: await books.submit("ThreadWaits", {"file": daemons.directory / "never"}) for way in WAYS}
    for job_id in (*on_loop.values(), *on_thread.values()):
        await books.is_in(job_id, "RUNNING")

    for way in WAYS:
        await ways[way](on_loop[way])
        await ways[way](on_thread[way])

    for job_id in (*on_loop.values(), *on_thread.values()):
        job = await books.is_in(job_id, "ABORTED")
        assert job["stop_reason"] == "by hand"
        await recorder.has(job_id, "TO_BE_RUN", "RUNNING", "ABORTED")


async def test_a_stop_before_the_claim_ends_the_job_there_and_then(books: Books) -> None:
    ids = [await books.submit("Forever"), await books.submit("Forever", status="PENDING")]

    await books.stop(*ids)

    for job_id in ids:
        job = await books.job(job_id)
        assert (job["status"], job["run"], job["sequence"]) == ("ABORTED", 0, 2)


async def test_a_stop_between_claim_and_start_ends_the_job(
    daemons: Daemons, books: Books, recorder: Recorder, database_url: str
) -> None:
    await daemons.start()
    holder = await asyncpg.connect(database_url)

    async with holder.transaction():
        await holder.execute("LOCK TABLE jobservice.job_run IN SHARE MODE")  # no flush can be written
        ids = [await books.submit("Forever") for _ in range(3)]
        for job_id in ids:
            await books.is_in(job_id, "TO_BE_RUN")
        await books.stop(*ids)
        assert [(await books.job(job_id))["status"] for job_id in ids] == ["TO_BE_RUN"] * 3
    await holder.close()

    for job_id in ids:
        await books.is_in(job_id, "ABORTED")
    await recorder.complete(books)


async def test_a_stop_of_an_ended_job_changes_nothing_and_says_so(
    daemons: Daemons, books: Books, recorder: Recorder
) -> None:
    await daemons.start()
    job_id = await books.submit("NoOp")
    before = await books.is_in(job_id, "SUCCEEDED")

    assert await books.value("SELECT jobservice.stop($1)", job_id) == "SUCCEEDED"
    async with JobInfoService.connect(daemons.database_url) as jobs:
        with pytest.raises(NotLegal, match="SUCCEEDED"):
            await jobs.stop(job_id)

    assert await books.job(job_id) == before
    await recorder.complete(books)


async def test_the_first_of_two_stops_gives_the_reason(daemons: Daemons, books: Books, recorder: Recorder) -> None:
    await daemons.start()
    job_id = await books.submit("Forever")
    await books.is_in(job_id, "RUNNING")

    async with books.connection.transaction():
        for reason in ("first", "second"):
            await books.value("SELECT jobservice.stop($1, $2)", job_id, reason)

    assert (await books.is_in(job_id, "ABORTED"))["stop_reason"] == "first"
    await recorder.has(job_id, "TO_BE_RUN", "RUNNING", "ABORTED")


async def test_a_stop_whose_signal_nobody_heard_is_found_with_the_next_heartbeat(
    daemons: Daemons, books: Books
) -> None:
    await daemons.start()
    job_id = await books.submit("Forever")
    await books.is_in(job_id, "RUNNING")

    await books.connection.execute(
        "UPDATE jobservice.job_info SET stop_requested_at = clock_timestamp(), stop_reason = 'silent' WHERE id = $1",
        job_id,
    )

    assert (await books.is_in(job_id, "ABORTED"))["stop_reason"] == "silent"


async def test_a_job_with_a_stop_mark_is_not_queued_again_by_a_drain(
    daemons: Daemons, books: Books, recorder: Recorder
) -> None:
    running = await daemons.start(pool={"stop_grace": 0.2})
    job_id = await books.submit("ThreadDeaf", {"file": daemons.directory / "never"})
    await books.is_in(job_id, "RUNNING")
    await books.stop(job_id)

    await running.leave(at_once=True)

    (daemons.directory / "never").touch()
    assert (await books.job(job_id))["status"] == "ABORTED"
    await recorder.has(job_id, "TO_BE_RUN", "RUNNING", "ABORTED")


async def test_no_stop_right_after_a_submission_is_lost(
    daemons: Daemons, books: Books, recorder: Recorder, ways: dict[str, Stop], database_url: str
) -> None:
    await daemons.start()
    await daemons.start()
    turns = cycle(WAYS)

    async def submit_then_stop(client: Books, rounds: int) -> list[UUID]:
        ids = []
        for _ in range(rounds):
            ids.append(await client.submit("Forever"))
            await ways[next(turns)](ids[-1])
        return ids

    others = [await asyncpg.connect(database_url) for _ in range(4)]
    ids = await asyncio.gather(*(submit_then_stop(Books(each), 60) for each in others))
    for each in others:
        await each.close()

    await books.all_final()
    assert await books.value("SELECT count(*) FROM jobservice.job_info WHERE status = 'ABORTED'") == sum(map(len, ids))
    await recorder.complete(books)
    await books.all_published()
