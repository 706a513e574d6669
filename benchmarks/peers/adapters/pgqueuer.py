"""pgqueuer on asyncpg and uvloop: batches of 500. Not by its command line, which ends with the newest typer."""

import asyncio
import os
import signal

import asyncpg
import uvloop
from pgqueuer import PgQueuer
from pgqueuer.db import AsyncpgDriver
from pgqueuer.models import Job
from pgqueuer.queries import Queries

from benchmarks.peers.meter import ran

BATCH = 5_000


async def connect() -> None:
    global connection, queries  # noqa: PLW0603 - one client a process
    connection = await asyncpg.connect(os.environ["BENCHMARK_DATABASE"])
    queries = Queries(AsyncpgDriver(connection))


async def reset() -> None:
    if await queries.schema_is_installed():
        await queries.uninstall()
    await queries.install()


async def bulk(count: int) -> None:
    for first in range(0, count, BATCH):
        payloads = [b'{"n": %d}' % n for n in range(first, min(first + BATCH, count))]
        await queries.enqueue(["noop"] * len(payloads), payloads, [0] * len(payloads))


async def single() -> None:
    await queries.enqueue("noop", b'{"n": 1}')


async def left() -> int:
    return int(await connection.fetchval("SELECT count(*) FROM (SELECT FROM pgqueuer LIMIT 1) j"))


async def work() -> None:
    """A worker until SIGTERM."""
    service = PgQueuer(AsyncpgDriver(await asyncpg.connect(os.environ["BENCHMARK_DATABASE"])))
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, service.shutdown.set)

    @service.entrypoint("noop")
    async def noop(job: Job) -> None:
        ran()

    await service.run(batch_size=500)


if __name__ == "__main__":
    uvloop.run(work())
