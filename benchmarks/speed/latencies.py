"""How long single jobs wait on an idle daemon: for their start, for the event of it, for the end of a stop."""

import asyncio
import contextlib
import json
import time
from collections.abc import AsyncIterator
from uuid import UUID

import aiormq
import asyncpg

from benchmarks.speed.figures import Figures
from benchmarks.speed.installation import PREFIX, SUBMIT, Installation

EVENT_SECONDS = 30.0
REST_SECONDS = 0.06
"""About what passes between two single jobs, until the first one's events are confirmed and its daemon waits again."""
_BARE_TABLE = """
    CREATE TABLE jobservice.bare_start (
      id bigserial PRIMARY KEY, queued boolean DEFAULT true, created timestamptz DEFAULT clock_timestamp());
    CREATE INDEX ON jobservice.bare_start (id) WHERE queued"""
_BARE_SUBMIT = """
    WITH row AS (INSERT INTO jobservice.bare_start DEFAULT VALUES RETURNING id)
    SELECT pg_notify('jobservice_bare', id::text) FROM row"""
_BARE_START = """
    UPDATE jobservice.bare_start SET queued = false
    WHERE id = (SELECT id FROM jobservice.bare_start WHERE queued ORDER BY id LIMIT 1 FOR UPDATE SKIP LOCKED)
    RETURNING extract(epoch FROM clock_timestamp() - created)::float8"""


async def starts(made: Installation, count: int, figures: Figures) -> None:
    """One job at a time: from its row to RUNNING by the server's clock, and from the call to the subscriber's event."""
    async with _subscriber(made) as arrivals:
        for n in range(count):
            began = time.perf_counter()
            job_id = await made.database.fetchval(SUBMIT, json.dumps([{"job_class": "NoOp", "parameters": {"n": n}}]))
            async with asyncio.timeout(EVENT_SECONDS):
                arrived_id, arrived = await arrivals.get()
                while arrived_id != job_id:  # published again: not this job's
                    arrived_id, arrived = await arrivals.get()
            figures.add("event", (arrived - began) * 1000)
            await made.until("SELECT status = 'SUCCEEDED' FROM jobservice.job_info WHERE id = $1", job_id)
            waited = await made.database.fetchval(
                "SELECT extract(epoch FROM start_date - created_date)::float8 FROM jobservice.job_info WHERE id = $1",
                job_id,
            )
            figures.add("start", waited * 1000)
            await made.quiet()


async def bare_starts(made: Installation, count: int, figures: Figures) -> None:
    """What the least of a start costs at that pace: a row with a NOTIFY, and an UPDATE by the session that hears it.

    A measure of the machine, which finds its processors asleep and its caches cold after each rest.
    """
    heard = asyncio.Event()
    worker = await asyncpg.connect(made.servers.database_url)
    try:
        await worker.execute(_BARE_TABLE)
        await worker.add_listener("jobservice_bare", lambda *_: heard.set())
        for _ in range(count):
            await asyncio.sleep(REST_SECONDS)
            await made.database.execute(_BARE_SUBMIT)
            await heard.wait()
            heard.clear()
            figures.add("bare", await worker.fetchval(_BARE_START) * 1000)
    finally:
        await worker.execute("DROP TABLE IF EXISTS jobservice.bare_start")
        await worker.close()


async def stops(made: Installation, count: int, figures: Figures) -> None:
    """From the call of `stop` until the running job's row is ABORTED, one at a time."""
    for _ in range(count):
        job_id = await made.database.fetchval(SUBMIT, json.dumps([{"job_class": "Forever"}]))
        await made.until("SELECT status = 'RUNNING' FROM jobservice.job_info WHERE id = $1", job_id)
        began = time.perf_counter()
        await made.database.execute("SELECT jobservice.stop($1)", job_id)
        ended = "SELECT status = 'ABORTED' FROM jobservice.job_info WHERE id = $1"
        while not await made.database.fetchval(ended, job_id):
            await asyncio.sleep(0.001)
        figures.add("stop", (time.perf_counter() - began) * 1000)
    await made.quiet()


@contextlib.asynccontextmanager
async def _subscriber(made: Installation) -> AsyncIterator["asyncio.Queue[tuple[UUID, float]]"]:
    """RUNNING events as a service of its own would see them: a connection, a queue bound to the exchange."""
    arrivals: asyncio.Queue[tuple[UUID, float]] = asyncio.Queue()

    async def arrive(message: aiormq.abc.DeliveredMessage) -> None:
        now = time.perf_counter()
        await arrivals.put((UUID(json.loads(message.body)["data"]["job_id"]), now))

    connection = await aiormq.connect(made.servers.amqp_url)
    try:
        channel = await connection.channel()
        queue = (await channel.queue_declare("", exclusive=True)).queue or ""
        await channel.queue_bind(queue, f"{PREFIX}.events", routing_key="*.*.*.RUNNING")
        await channel.basic_consume(queue, arrive, no_ack=True)
        yield arrivals
    finally:
        await connection.close()
