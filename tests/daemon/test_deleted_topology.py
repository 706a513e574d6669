"""Somebody deletes what is declared on the broker while a daemon runs: it is made again, and nothing is lost."""

import asyncio
from collections.abc import AsyncIterator

import aiormq
import pytest
from daemons import SECONDS, Books, Daemons, Recorder


@pytest.fixture
async def channel(amqp_url: str) -> AsyncIterator[aiormq.abc.AbstractChannel]:
    connection = await aiormq.connect(amqp_url)
    yield await connection.channel()
    await connection.close()


async def test_a_deleted_exchange_of_events_is_made_again_and_later_events_come(
    daemons: Daemons, books: Books, channel: aiormq.abc.AbstractChannel
) -> None:
    await daemons.start()
    await books.is_in(await books.submit("NoOp"), "SUCCEEDED")
    await books.all_published()

    await channel.exchange_delete(f"{daemons.prefix}.events")
    await books.is_in(await books.submit("NoOp"), "SUCCEEDED")
    await books.all_published()

    recorder = Recorder()
    await recorder.open(daemons.amqp_url, daemons.prefix)
    await recorder.has(await books.submit("NoOp"), "TO_BE_RUN", "RUNNING", "SUCCEEDED")
    await recorder.close()


async def test_a_deleted_exchange_of_pipelines_is_made_again_and_jobs_are_told_of_meanwhile(
    daemons: Daemons, books: Books, channel: aiormq.abc.AbstractChannel
) -> None:
    await daemons.start()
    await books.connection.execute('SELECT jobservice.submit_pipeline(\'{"name": "p"}\')')
    await books.all_published()

    await channel.exchange_delete(f"{daemons.prefix}.pipelines")
    await books.connection.execute('SELECT jobservice.submit_pipeline(\'{"name": "p"}\')')
    await books.is_in(await books.submit("NoOp"), "SUCCEEDED")

    await books.all_published()
    await channel.exchange_declare(f"{daemons.prefix}.pipelines", passive=True)


HEARD = {
    "submissions": ("submit", "acme", b'{"job_class": "NoOp"}', "SELECT count(*) > 1 FROM jobservice.job_info"),
    "control": (
        "command",
        "_operator",
        b'{"command": "pause_queue", "queue": "default"}',
        "SELECT paused FROM jobservice.queue",
    ),
}


@pytest.mark.parametrize("queue", list(HEARD))
async def test_a_deleted_queue_is_made_again_and_later_messages_are_heard(
    daemons: Daemons, books: Books, channel: aiormq.abc.AbstractChannel, queue: str
) -> None:
    exchange, key, body, query = HEARD[queue]
    await daemons.start()
    await books.submit("NoOp")
    await books.all_final()
    await books.all_published()  # so all is declared

    await channel.queue_delete(f"{daemons.prefix}.{queue}")

    async with asyncio.timeout(SECONDS):
        while not await books.value(query):  # until the queue is back a message has nowhere to go
            await channel.basic_publish(body, exchange=f"{daemons.prefix}.{exchange}", routing_key=key)
