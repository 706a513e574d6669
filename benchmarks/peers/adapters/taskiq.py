"""taskiq over RabbitMQ by taskiq-aio-pika: confirmed, into its default quorum queue; no result backend."""

import asyncio
import os

from taskiq_aio_pika import AioPikaBroker

from benchmarks.peers.meter import ran

BATCH = 1_000
broker = AioPikaBroker(os.environ.get("BENCHMARK_BROKER"), qos=200)


@broker.task(task_name="noop")
async def noop(n: int) -> None:
    ran()


async def connect() -> None:
    await broker.startup()


async def reset() -> None:
    queue = await broker.write_channel.get_queue("taskiq", ensure=True)
    await queue.purge()


async def bulk(count: int) -> None:
    for first in range(0, count, BATCH):
        await asyncio.gather(*(noop.kiq(n) for n in range(first, min(first + BATCH, count))))


async def single() -> None:
    await noop.kiq(1)
