"""What a chunk step costs: its items per second against a plain loop that does the same SQL.

    python benchmarks/chunks.py DATABASE_URL [ITEMS] [SIZE]

DATABASE_URL: an empty database of its own; the schema is applied to it. Step and loop read a table by a cursor and
write each chunk in a transaction, in turns, each into an emptied table; printed are the rounds, and the ratio of the
medians. Figures of different machines do not compare; the ratio is to be 0.8 at least.
"""

import asyncio
import statistics
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any
from uuid import uuid4

import asyncpg
import structlog

from jobservice.sdk.steps import At, Chunk
from jobservice.steps.book import Book
from jobservice.steps.calling import Listeners
from jobservice.steps.chunk_run import ChunkRun
from jobservice.steps.connections import StepConnections
from jobservice.steps.context import Context
from jobservice.store import schema

ROUNDS = 7
READ = "SELECT id, value FROM source WHERE id > $1 ORDER BY id"
WRITE = "INSERT INTO target SELECT * FROM unnest($1::integer[])"


class Plain:
    """The loop that somebody would write by hand: no checkpoint, no fence, no restart."""

    def __init__(self, reader: asyncpg.Connection, writer: asyncpg.Connection, size: int) -> None:
        self._reader = reader
        self._writer = writer
        self._size = size

    async def run(self) -> None:
        """Copies all."""
        items: list[int] = []
        async with self._reader.transaction(readonly=True):
            async for row in self._reader.cursor(READ, 0, prefetch=self._size):
                items.append(row["value"])
                if len(items) == self._size:
                    await self._write(items)
                    items = []
        if items:
            await self._write(items)

    async def _write(self, items: list[int]) -> None:
        async with self._writer.transaction():
            await self._writer.execute(WRITE, items)


class Stepwise:
    """The same as a chunk step of a job that runs."""

    def __init__(self, connection: asyncpg.Connection, url: str, size: int) -> None:
        self._connection = connection
        self._url = url
        self._size = size
        self._daemon = uuid4()
        self._job = uuid4()
        self._instance = uuid4()
        self._begun = 0

    async def begin(self) -> None:
        """Makes the daemon, the job and the instance that it needs."""
        await self._connection.execute(
            """INSERT INTO jobservice.daemon (id, host, pid, version, queues, job_classes, capacity)
               VALUES ($1, 'benchmark', 1, '0', '{default}', '{}', 1)""",
            self._daemon,
        )
        await self._connection.execute(
            """INSERT INTO jobservice.job_info
                 (id, tenant, queue, job_class, status, run, daemon_id, queued_date, claim_date, start_date)
               VALUES ($1, 't', 'default', 'Copies', 'RUNNING', 1, $2, now(), now(), now())""",
            self._job,
            self._daemon,
        )
        await self._connection.execute(
            """INSERT INTO jobservice.job_instance (id, tenant, job_class, key, parameters)
               VALUES ($1::uuid, 't', 'Copies', $1::uuid::text, '{}')""",
            self._instance,
        )
        self._connections = StepConnections(url=self._url, daemon_id=self._daemon, size=2)

    async def end(self) -> None:
        """Ends its connections."""
        await self._connections.close()

    async def run(self) -> None:
        """Copies all, as another step each time."""
        self._begun += 1
        step = Chunk(f"copy{self._begun}", read=_read, write=_write, size=self._size)
        book = Book(schema="jobservice", job_id=self._job, run=1, daemon_id=self._daemon)
        state = await book.begin(self._connection, self._instance, step.name, epoch="benchmark")
        job: Any = _Job()
        run = ChunkRun(
            step=step, instance=self._instance, state=state, context=Context(job=job, key="benchmark", shared={}),
            book=book, connections=self._connections, listeners=Listeners((), job.log), ending=lambda: None,
            committed=lambda: None,
        )  # fmt: skip
        await run.execute()


class _Job:
    log = structlog.get_logger()


async def _read(context: Any, after: Any) -> AsyncIterator[At]:
    async for row in context.connection.cursor(READ, after or 0, prefetch=500):
        yield At(row["id"], row["value"])


async def _write(context: Any, items: list[int]) -> None:
    await context.connection.execute(WRITE, items)


async def measured(connection: asyncpg.Connection, items: int, run: Callable[[], Awaitable[None]]) -> float:
    """Items per second, from an emptied target; all must have been copied."""
    await connection.execute("TRUNCATE target")
    begun = time.perf_counter()
    await run()
    seconds = time.perf_counter() - begun
    copied = await connection.fetchval("SELECT count(*) FROM target")
    if copied != items:
        raise AssertionError(f"{copied} of {items} items were copied")
    return items / seconds


async def main(url: str, items: int = 100_000, size: int = 500) -> None:
    """Measures and prints."""
    connection, reader, writer = [await asyncpg.connect(url) for _ in range(3)]
    await schema.apply(connection)
    await connection.execute(
        """DROP TABLE IF EXISTS source, target;
           CREATE TABLE source (id integer PRIMARY KEY, value integer); CREATE TABLE target (value integer)"""
    )
    await connection.execute("INSERT INTO source SELECT n, n FROM generate_series(1, $1::integer) n", items)
    plain, stepwise = Plain(reader, writer, size), Stepwise(connection, url, size)
    await stepwise.begin()
    speeds: dict[str, list[float]] = {"plain": [], "step": []}
    for number in range(ROUNDS + 1):
        turn = {"plain": plain.run, "step": stepwise.run}
        found = {name: await measured(connection, items, turn[name]) for name in turn}
        if number > 0:  # the first one warms up
            print("  ".join(f"{name} {speed:>9,.0f}/s" for name, speed in found.items()))
            for name, speed in found.items():
                speeds[name].append(speed)
    median = {name: statistics.median(each) for name, each in speeds.items()}
    print(f"medians of {ROUNDS} rounds, {items:,} items in chunks of {size}: " + ", ".join(
        f"{name} {speed:,.0f}/s" for name, speed in median.items()
    ) + f"; ratio {median['step'] / median['plain']:.2f}")  # fmt: skip
    await stepwise.end()
    for each in (connection, reader, writer):
        await each.close()


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], *(int(each) for each in sys.argv[2:])))
