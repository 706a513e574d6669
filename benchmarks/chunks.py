"""What a chunk step costs: its items per second against a plain loop that does the same SQL.

    python -m benchmarks.chunks DATABASE_URL [ITEMS] [SIZE] [--slow-commits]

DATABASE_URL: an empty database of its own, as its owner; the schema is applied to it. `--slow-commits` (a superuser):
each takes 3 ms, as on a user's disk. Step and loops run in turns, each into an emptied table; printed are the rounds,
and the medians' ratios to each loop. Figures of different machines do not compare; ratios are to be 0.8 at least.

copy: integers, read and written, nothing else: all that a step adds shows. end of day: trades of another table become
twelve plans each, written by COPY. Two loops do that by hand, in chunks of the same size, each a transaction: `plain`
keeps nothing and begins anew after a failure; `kept` writes its position with each chunk, to go on there.
"""

import statistics
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from datetime import timedelta
from decimal import Decimal
from typing import Any
from uuid import uuid4

import asyncpg
import structlog
import uvloop

from jobservice.sdk.steps import At, Chunk
from jobservice.steps.book import Book
from jobservice.steps.calling import Listeners
from jobservice.steps.chunk_run import ChunkRun
from jobservice.steps.connections import StepConnections
from jobservice.steps.context import Context
from jobservice.steps.threads import StepThreads
from jobservice.store import schema

ROUNDS = 7
TERMS = 12
CENT = Decimal("0.01")
TABLES = """
  DROP TABLE IF EXISTS source, target, trade, plan, place;
  CREATE TABLE source (id integer PRIMARY KEY, value integer);
  CREATE TABLE target (value integer);
  CREATE TABLE trade (id integer PRIMARY KEY, name text, day date, amount numeric(12, 2));
  CREATE TABLE plan (trade integer, term integer, name text, due date, amount numeric(12, 2));
  CREATE TABLE place (loop text PRIMARY KEY, position integer);
  INSERT INTO place VALUES ('copy', 0), ('end of day', 0)"""
FILL = """INSERT INTO source SELECT n, n FROM generate_series(1, $1::integer) n"""
TRADES = """INSERT INTO trade SELECT n, 'user ' || n % 100, date '2026-01-01' + n % 365, n / 7.0
            FROM generate_series(1, $1::integer) n"""
KEEP = "UPDATE place SET position = $2 WHERE loop = $1"


@dataclass(frozen=True, kw_only=True)
class Work:
    """What a step and the loops beside it do: what is read, made of a row, and written."""

    name: str
    items: int
    made: int
    """Rows that are written of an item."""
    read: str
    table: str
    item: Callable[[asyncpg.Record], Any]
    process: Callable[[Any], Any] | None
    write: Callable[[Any, list[Any]], Awaitable[object]]
    """Of a connection and items."""


def to_plans(trade: asyncpg.Record) -> list[tuple[object, ...]]:
    """As the end of day of the examples has it."""
    each = (trade["amount"] / TERMS).quantize(CENT)
    amounts = [each] * (TERMS - 1) + [trade["amount"] - each * (TERMS - 1)]
    return [
        (trade["id"], term, trade["name"], trade["day"] + timedelta(days=30 * term), amount)
        for term, amount in enumerate(amounts, start=1)
    ]


async def insert(connection: Any, items: list[int]) -> None:
    """The integers of a chunk."""
    await connection.execute("INSERT INTO target SELECT * FROM unnest($1::integer[])", items)


async def copy_in(connection: Any, plans: list[list[tuple[object, ...]]]) -> None:
    """The plans of a chunk."""
    await connection.copy_records_to_table("plan", records=[row for rows in plans for row in rows])


def works(items: int) -> list[Work]:
    """Both, the second with a tenth of the items."""
    return [
        Work(
            name="copy", items=items, made=1, table="target", process=None, write=insert,
            read="SELECT id, value FROM source WHERE id > $1 ORDER BY id", item=lambda row: row["value"],
        ),
        Work(
            name="end of day", items=items // 10, made=TERMS, table="plan", process=to_plans, write=copy_in,
            read="SELECT id, name, day, amount FROM trade WHERE id > $1 ORDER BY id", item=lambda row: row,
        ),
    ]  # fmt: skip


class Loop:
    """What somebody would write by hand: no fence, no counts."""

    def __init__(self, work: Work, reader: asyncpg.Connection, writer: asyncpg.Connection, size: int) -> None:
        self._work = work
        self._reader = reader
        self._writer = writer
        self._size = size

    async def plain(self) -> None:
        """Nothing is known of how far it is."""
        await self._run(keep=False)

    async def kept(self) -> None:
        """Each chunk is committed with its position."""
        await self._run(keep=True)

    async def _run(self, *, keep: bool) -> None:
        item, process = self._work.item, self._work.process
        items: list[Any] = []
        row = None
        async with self._reader.transaction(readonly=True):
            async for row in self._reader.cursor(self._work.read, 0, prefetch=self._size):
                items.append(item(row) if process is None else process(item(row)))
                if len(items) == self._size:
                    await self._write(items, row["id"] if keep else None)
                    items = []
        if items and row is not None:
            await self._write(items, row["id"] if keep else None)

    async def _write(self, items: list[Any], position: int | None) -> None:
        async with self._writer.transaction():
            await self._work.write(self._writer, items)
            if position is not None:
                await self._writer.execute(KEEP, self._work.name, position)


class Stepwise:
    """The same as chunk steps of a job that runs."""

    def __init__(self, connection: asyncpg.Connection, url: str, size: int) -> None:
        self._connection = connection
        self._url = url
        self._size = size
        self._daemon = uuid4()
        self._job = uuid4()
        self._instance = uuid4()
        self._begun = 0
        self._threads = StepThreads()

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
        self._threads.close()

    async def run(self, work: Work) -> None:
        """Does the work, as another step each time."""
        self._begun += 1

        async def read(context: Any, after: Any) -> AsyncIterator[At]:
            item = work.item
            async for row in context.connection.cursor(work.read, after or 0, prefetch=self._size):
                yield At(row["id"], item(row))

        async def write(context: Any, items: list[Any]) -> None:
            await work.write(context.connection, items)

        step = Chunk(f"step{self._begun}", read=read, process=work.process, write=write, size=self._size)
        book = Book(schema="jobservice", job_id=self._job, run=1, daemon_id=self._daemon)
        state = await book.begin(self._connection, self._instance, step.name, epoch="benchmark")
        job: Any = _Job()
        run = ChunkRun(
            step=step, instance=self._instance, state=state,
            context=Context(job=job, key="benchmark", shared={}, threads=self._threads), book=book,
            connections=self._connections, listeners=Listeners((), job.log), ending=lambda: None,
            committed=lambda: None,
        )  # fmt: skip
        await run.execute()


class _Job:
    log = structlog.get_logger()


async def measured(connection: asyncpg.Connection, work: Work, run: Callable[[], Awaitable[None]]) -> float:
    """Items per second, from an emptied target; all must have been written."""
    await connection.execute(f"TRUNCATE {work.table}")
    begun = time.perf_counter()
    await run()
    seconds = time.perf_counter() - begun
    written = await connection.fetchval(f"SELECT count(*) FROM {work.table}")
    if written != work.items * work.made:
        raise AssertionError(f"{written} rows of {work.items} items were written")
    return work.items / seconds


async def compared(connection: asyncpg.Connection, work: Work, loop: Loop, stepwise: Stepwise, size: int) -> None:
    """Measures one work in turns, and prints."""
    turn: dict[str, Callable[[], Awaitable[None]]] = {
        "plain": loop.plain, "kept": loop.kept, "step": lambda: stepwise.run(work)
    }  # fmt: skip
    speeds: dict[str, list[float]] = {name: [] for name in turn}
    for number in range(ROUNDS + 1):
        found = {name: await measured(connection, work, run) for name, run in turn.items()}
        if number > 0:  # the first one warms up
            print(f"{work.name}: " + "  ".join(f"{name} {speed:>9,.0f}/s" for name, speed in found.items()))
            for name, speed in found.items():
                speeds[name].append(speed)
    median = {name: statistics.median(each) for name, each in speeds.items()}
    told = ", ".join(f"{name} {speed:,.0f}/s" for name, speed in median.items())
    print(
        f"{work.name}, medians of {ROUNDS} rounds, {work.items:,} items in chunks of {size}: {told}; the step's ratio "
        f"to plain {median['step'] / median['plain']:.2f}, to kept {median['step'] / median['kept']:.2f}"
    )


async def main(url: str, items: int = 100_000, size: int = 500, *, slow_commits: bool = False) -> None:
    """Measures and prints."""
    connection = await asyncpg.connect(url)
    database = await connection.fetchval("SELECT quote_ident(current_database())")
    for setting, value in (("commit_delay", 3000), ("commit_siblings", 0)):
        if slow_commits:
            await connection.execute(f"ALTER DATABASE {database} SET {setting} = {value}")
    reader, writer = [await asyncpg.connect(url) for _ in range(2)]
    await schema.apply(connection)
    await connection.execute(TABLES)
    await connection.execute(FILL, items)
    await connection.execute(TRADES, items // 10)
    await connection.execute("ANALYZE source, trade")
    stepwise = Stepwise(connection, url, size)
    await stepwise.begin()
    for work in works(items):
        await compared(connection, work, Loop(work, reader, writer, size), stepwise, size)
    await stepwise.end()
    if slow_commits:
        await connection.execute(f"ALTER DATABASE {database} RESET commit_delay")
        await connection.execute(f"ALTER DATABASE {database} RESET commit_siblings")
    for each in (connection, reader, writer):
        await each.close()


if __name__ == "__main__":
    plain = [each for each in sys.argv[1:] if each != "--slow-commits"]
    uvloop.run(main(plain[0], *(int(each) for each in plain[1:]), slow_commits="--slow-commits" in sys.argv))
