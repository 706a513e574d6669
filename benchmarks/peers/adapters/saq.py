"""saq on PostgreSQL: single inserts, twenty at a time for bulk, since it has no batch; 20 jobs at once."""

import asyncio
import os
from typing import Any

from saq import Queue

from benchmarks.peers.meter import ran

BATCH = 1_000
queue = Queue.from_url(os.environ.get("BENCHMARK_DATABASE", "postgres://"))


async def noop(context: Any, *, n: int) -> None:
    ran()


settings = {"queue": queue, "functions": [noop], "concurrency": 20}


async def connect() -> None:
    await queue.connect()


async def reset() -> None:
    async with queue.pool.connection() as connection:
        await connection.execute("TRUNCATE saq_jobs")


async def bulk(count: int) -> None:
    for first in range(0, count, BATCH):
        await asyncio.gather(*(queue.enqueue("noop", n=n) for n in range(first, min(first + BATCH, count))))


async def single() -> None:
    await queue.enqueue("noop", n=1)


async def left() -> int:
    async with queue.pool.connection() as connection:
        found = await connection.execute(
            "SELECT count(*) FROM (SELECT FROM saq_jobs WHERE status IN ('queued', 'active') LIMIT 1) j"
        )
        row = await found.fetchone()
        return int(row[0]) if row else 0
