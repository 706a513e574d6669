"""A day's worth of jobs through one daemon: `python -m benchmarks.day [--jobs N] [--keep SECONDS] [--reader]`.

Jobs that do nothing are submitted in bulk while the daemon runs them, never more than `--ahead` of those that have
ended; a subscriber takes every event. Each line is a tenth of the jobs: costs that grow from line to line are what is
looked for. `--keep 20` deletes ended jobs after 20 seconds, while the rest goes on. With `--reader` somebody opens a
transaction after the second tenth, reads, and leaves it open until after the ninth: nothing that goes meanwhile can be
cleared away. Exit 1 where a job has not succeeded exactly once, or an event is missing.

*claim* is the processor time of a claim of 100 that is undone, *unread* the events that the subscriber has not taken.
Figures of different machines do not compare; the ratio of the last lines to the first ones does.
"""

import argparse
import asyncio
import contextlib
import os
import sys
import time
from collections.abc import AsyncIterator, Sequence
from datetime import UTC, datetime
from uuid import uuid4

import asyncpg

from benchmarks.day_events import PER_JOB, Counted, counting
from benchmarks.speed.installation import BATCH, ENDED, PREFIX, SUBMIT, Installation, daemons, installation
from benchmarks.speed.machine import machine, versions
from benchmarks.speed.processes import cpu_seconds, resident, with_children
from jobservice.servers.detect import servers

PARTS = 10
READS_AFTER, READS_UNTIL = 2, 9
TENANTS = 20
CLAIMS = 5
CLAIMED = 100
UNREAD = 150_000
"""Events that may wait for the subscriber: a private broker has 1 GB."""
_LOOK = 0.25
EVENTS = PREFIX
COLUMNS = ("jobs", "seconds", "jobs/s", "daemon", "PostgreSQL", "RabbitMQ", "claim", "WAL", "memory", "rows", "indexes",
           "dead", "outbox", "unread")  # fmt: skip
UNITS = ("", "", "", "µs/job", "µs/job", "µs/job", "ms", "B/job", "MB", "MB", "MB", "rows", "rows", "events")
_ENROL = """
    INSERT INTO jobservice.daemon (id, host, pid, version, queues, job_classes, capacity)
    VALUES ($1, 'nowhere', 1, '0', '{default}', '{NoOp}', 1000)"""
_CLAIM = "SELECT count(id) FROM jobservice.claim('default', $2, $1, '{}', '{}', '{}')"
# One daemon writes ends one flush after the other, so none comes later with an earlier date.
_ENDED_SINCE = """
    SELECT count(*), max(stop_date) FROM jobservice.job_info
    WHERE status = 'SUCCEEDED' AND stage_id IS NULL AND stop_date > $1"""
_SIZES = """
    SELECT pg_relation_size('jobservice.job_info') / 1e6 AS rows,
           pg_indexes_size('jobservice.job_info') / 1e6 AS indexes,
           pg_stat_get_dead_tuples('jobservice.job_info'::regclass) AS dead,
           (SELECT count(*) FROM jobservice.outbox) AS outbox, pg_current_wal_lsn() - '0/0' AS wal"""


class Day:
    """One run of it."""

    def __init__(self, made: Installation, pids: list[int], counted: Counted, arguments: argparse.Namespace) -> None:
        self._made = made
        self._pids = pids
        self._counted = counted
        self._jobs: int = arguments.jobs
        self._ahead: int = arguments.ahead
        self._reader: bool = arguments.reader
        self._backend = 0
        self._ended = 0
        self._ended_at = datetime(2000, 1, 1, tzinfo=UTC)
        stack = made.servers.stack
        self._spent = [
            Spending(name, parents)
            for name, parents in zip(
                COLUMNS[3:6], (pids, *((pid,) for pid in reversed(stack.pids if stack else ()))), strict=False
            )
        ]

    async def run(self) -> None:
        """Prints a line for each tenth."""
        self._backend = await self._made.database.fetchval("SELECT pg_backend_pid()")
        print(" ".join(f"{name:>10}" for name in COLUMNS))
        print(" ".join(f"{unit:>10}" for unit in UNITS))
        async with contextlib.AsyncExitStack() as reading, asyncio.TaskGroup() as group:
            group.create_task(self._submit())
            before = await self._costs()
            for part in range(1, PARTS + 1):
                await self._until(self._jobs * part // PARTS)
                now = await self._costs()
                await self._tell(part, before, now)
                before = now | {"time": time.perf_counter()} if part == PARTS else await self._costs()
                if self._reader and part == READS_AFTER:
                    await reading.enter_async_context(snapshot(self._made))
                if self._reader and part == READS_UNTIL:
                    await reading.aclose()

    @property
    def _unread(self) -> int:
        return PER_JOB * self._ended - self._counted.events

    async def _until(self, ended: int) -> None:
        while self._ended < ended:
            self._counted.check()
            await asyncio.sleep(_LOOK)
            await self._look()

    async def _look(self) -> None:
        for each in self._spent:
            each.look()
        more, last = await self._made.database.fetchrow(_ENDED_SINCE, self._ended_at)
        self._ended, self._ended_at = self._ended + more, last or self._ended_at

    async def _submit(self) -> None:
        session = await asyncpg.connect(self._made.servers.database_url)
        try:
            for first in range(0, self._jobs, BATCH):
                last = min(first + BATCH, self._jobs)
                while last - self._ended > self._ahead or self._unread > UNREAD:
                    await asyncio.sleep(_LOOK)
                await session.execute(f"SELECT count(*) FROM ({SUBMIT}) j", _jobs(first, last))
        finally:
            await session.close()

    async def _costs(self) -> dict[str, float]:
        await self._look()
        await self._made.database.execute("SELECT pg_stat_clear_snapshot()")
        return {
            "time": time.perf_counter(),
            "jobs": self._ended,
            "unread": self._unread,
            **{each.name: each.look() for each in self._spent},
            **{name: float(each) for name, each in (await self._made.database.fetchrow(_SIZES)).items()},
        }

    async def _tell(self, part: int, before: dict[str, float], now: dict[str, float]) -> None:
        jobs, seconds = max(1, now["jobs"] - before["jobs"]), now["time"] - before["time"]
        each = {name: (now.get(name, 0) - before.get(name, 0)) * 1e6 / jobs for name in COLUMNS[3:6]}
        claim = f"{await self._claim():.1f}" if part < PARTS else ""
        cells = [
            f"{now['jobs']:,.0f}",
            f"{seconds:.1f}",
            f"{jobs / seconds:,.0f}",
            *(f"{each[name]:.0f}" for name in COLUMNS[3:6]),
            claim,
            f"{(now['wal'] - before['wal']) / jobs:,.0f}",
            f"{resident(self._pids):.0f}",
            *(f"{now[name]:,.0f}" for name in COLUMNS[9:]),
        ]
        note = "  while somebody reads" if self._reader and READS_AFTER < part <= READS_UNTIL else ""
        print(" ".join(f"{cell:>10}" for cell in cells) + note, flush=True)

    async def _claim(self) -> float:
        """Milliseconds of a processor that a claim of 100 takes, each undone."""
        me, spent = uuid4(), []
        for _ in range(CLAIMS):
            change = self._made.database.transaction()
            await change.start()
            await self._made.database.execute(_ENROL, me)
            before = cpu_seconds([self._backend])
            await self._made.database.fetchval(_CLAIM, me, CLAIMED)
            spent.append((cpu_seconds([self._backend]) - before) * 1000)
            await change.rollback()
        return sorted(spent)[CLAIMS // 2]


def _jobs(first: int, last: int) -> str:
    jobs = (
        f'{{"job_class": "NoOp", "tenant": "t{n % TENANTS}", "parameters": {{"n": {n}}}}}' for n in range(first, last)
    )
    return f"[{','.join(jobs)}]"


class Spending:
    """Processor time of processes and their children, those that have ended meanwhile among them."""

    def __init__(self, name: str, parents: Sequence[int]) -> None:
        self.name = name
        self._parents = parents
        self._seconds: dict[int, float] = {}

    def look(self) -> float:
        """Seconds so far; what a process spends between the last look and its end is missed."""
        for pid in with_children(self._parents):
            self._seconds[pid] = max(self._seconds.get(pid, 0.0), cpu_seconds([pid]))
        return sum(self._seconds.values())


@contextlib.asynccontextmanager
async def snapshot(made: Installation) -> AsyncIterator[None]:
    """Somebody who has read, and neither commits nor goes."""
    session = await asyncpg.connect(made.servers.database_url)
    try:
        async with session.transaction(isolation="repeatable_read", readonly=True):
            await session.fetchval("SELECT count(*) FROM jobservice.queue")
            yield
    finally:
        await session.close()


async def verdict(made: Installation, counted: Counted, jobs: int, *, kept: bool) -> list[str]:
    """What is missing, once all is quiet."""
    await made.until(ENDED)
    await made.until("SELECT NOT EXISTS (SELECT FROM jobservice.outbox)")
    while counted.events < PER_JOB * jobs:  # no event is on its way any more but those in the subscriber's queue
        counted.check()
        waiting = (await made.broker.queue_declare(EVENTS, passive=True)).message_count
        if not waiting and counted.idle:
            break
        await asyncio.sleep(0.5)
    problems = counted.problems(jobs)
    if kept:
        succeeded = await made.database.fetchval(
            "SELECT count(*) FROM jobservice.job_info WHERE status = 'SUCCEEDED' AND run = 1 AND sequence = 4"
        )
        if succeeded != jobs:
            problems.append(f"{succeeded:,} of {jobs:,} rows are SUCCEEDED in one run")
    return problems


async def main(arguments: argparse.Namespace) -> int:
    """Servers, one daemon, one subscriber, the jobs."""
    os.environ["JOBSERVICE_RETENTION__SUCCEEDED"] = str(arguments.keep)
    with servers(announce=lambda line: print(line, file=sys.stderr)) as running:
        async with installation(running) as made:
            print(f"{arguments.jobs:,} jobs of {TENANTS} tenants, capacity {arguments.capacity}, "
                  f"{'kept' if not arguments.keep else f'deleted after {arguments.keep:g} s'}; {machine()}; "
                  f"{versions(await made.database.fetchval('SHOW server_version'), made.rabbitmq)}")  # fmt: skip
            async with daemons(made, capacity=arguments.capacity) as pids:
                await made.broker.queue_declare(EVENTS, durable=True, arguments={"x-queue-type": "quorum"})
                await made.broker.queue_bind(EVENTS, f"{PREFIX}.events", routing_key="#")
                with counting(running.amqp_url, EVENTS) as counted:
                    began = time.perf_counter()
                    await Day(made, pids, counted, arguments).run()
                    problems = await verdict(made, counted, arguments.jobs, kept=not arguments.keep)
                    seconds = time.perf_counter() - began
                await made.broker.queue_delete(EVENTS)
            print(
                f"{arguments.jobs / seconds:,.0f} jobs/s until the last event was taken,"
                f" {counted.events:,} events, {counted.repeated:,} of them repeated"
            )
    for problem in problems:
        print(f"PROBLEM: {problem}")
    return 1 if problems else 0


def parse() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.day", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--jobs", type=int, default=1_000_000)
    parser.add_argument("--ahead", type=int, default=100_000, help="jobs submitted and not ended, at most")
    parser.add_argument("--capacity", type=int, default=200, help="slots of the daemon")
    parser.add_argument("--keep", type=float, default=0, help="seconds that ended jobs are kept; 0: all the time")
    parser.add_argument("--reader", action="store_true", help="an open transaction from the third tenth to the ninth")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(asyncio.run(main(parse())))
