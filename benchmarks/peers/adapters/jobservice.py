"""This one, as its peers are measured: a worker that is started on a full queue. Runs in the project's environment."""

import json
import os

import aiormq
import asyncpg

from benchmarks.peers.meter import ran
from jobservice import AbstractJob
from jobservice.broker.names import BrokerNames
from jobservice.broker.topology import declare
from jobservice.store.schema import apply

BATCH = 2_000
PREFIX = "jobservice-peer"
SUBMIT = "SELECT count(*) FROM jobservice.submit($1::text::jsonb)"


class CountedNoOp(AbstractJob):
    """Counts."""

    async def run(self, n: int) -> int:
        ran()
        return n


async def connect() -> None:
    global database, channel  # noqa: PLW0603 - one client a process
    database = await asyncpg.connect(os.environ["BENCHMARK_DATABASE"])
    channel = await (await aiormq.connect(os.environ["BENCHMARK_BROKER"])).channel()


async def reset() -> None:
    """Events go into a quorum queue, as somebody's subscription would be."""
    await database.execute("DROP SCHEMA IF EXISTS jobservice CASCADE")
    await apply(database)
    await database.execute(
        "INSERT INTO jobservice.queue (queue, events) VALUES ('default', $1)", os.environ["BENCHMARK_EVENTS"]
    )
    names = BrokerNames(PREFIX)
    await declare(channel, names)
    await channel.queue_delete(PREFIX)
    await channel.queue_declare(PREFIX, durable=True, arguments={"x-queue-type": "quorum"})
    await channel.queue_bind(PREFIX, names.events, routing_key="#")


async def bulk(count: int) -> None:
    for first in range(0, count, BATCH):
        await _submit(first, min(first + BATCH, count))


async def single() -> None:
    await _submit(0, 1)


async def left() -> int:
    return int(
        await database.fetchval(
            "SELECT count(*) FROM (SELECT FROM jobservice.job_info"
            " WHERE status IN ('QUEUED', 'TO_BE_RUN', 'RUNNING') LIMIT 1) j"
        )
    )


async def unconfirmed() -> int:
    """Rows of the outbox."""
    return int(await database.fetchval("SELECT count(*) FROM jobservice.outbox"))


async def _submit(first: int, last: int) -> None:
    jobs = [{"job_class": "CountedNoOp", "tenant": f"t{n % 20}", "parameters": {"n": n}} for n in range(first, last)]
    await database.execute(SUBMIT, json.dumps(jobs))
