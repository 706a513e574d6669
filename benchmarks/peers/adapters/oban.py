"""oban for Python: bulk by enqueue_many, one queue with 200 slots."""

import asyncio
import os
import signal

from oban import Oban, worker
from oban.schema import install

from benchmarks.peers.meter import ran

BATCH = 1_000


@worker(queue="default")
class NoOp:
    """Counts."""

    async def process(self, job: object) -> None:
        ran()


async def connect() -> None:
    global pool, client  # noqa: PLW0603 - one client a process
    pool = await Oban.create_pool(os.environ["BENCHMARK_DATABASE"], min_size=2, max_size=10)
    client = Oban(pool=pool)


async def reset() -> None:
    async with pool.connection() as connection:
        await connection.execute("DROP SCHEMA public CASCADE")
        await connection.execute("CREATE SCHEMA public")
    await install(pool)


async def bulk(count: int) -> None:
    for first in range(0, count, BATCH):
        await client.enqueue_many(NoOp.new({"n": n}) for n in range(first, min(first + BATCH, count)))


async def single() -> None:
    await client.enqueue(NoOp.new({"n": 1}))


async def left() -> int:
    async with pool.connection() as connection:
        found = await connection.execute(
            "SELECT count(*) FROM (SELECT FROM oban_jobs WHERE state IN ('available', 'executing') LIMIT 1) j"
        )
        return int((await found.fetchone())[0])


async def work() -> None:
    """A worker until SIGTERM."""
    over = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, over.set)
    await connect()
    async with Oban(pool=pool, queues={"default": 200}):
        await over.wait()


if __name__ == "__main__":
    asyncio.run(work())
