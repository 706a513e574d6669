"""What daemons can do: `./dev bench [--jobs N] [--tenants N] [--capacity N] [--daemons N] [--rounds N] [--quick]`.

Real servers (private ones, or those of JOBSERVICE_DATABASE_URL and JOBSERVICE_AMQP_URL), daemons as processes, no-op
jobs, every status change an event that is confirmed into a quorum queue. Per round it stores all jobs in the
paused queue, resumes it and takes the time until the last job is SUCCEEDED in the database, and until the last event is
confirmed and its outbox row gone. Then single jobs on the idle daemon, and its queries while there is nothing to do.

Figures of different machines, or of different runs on a shared one, do not compare: it prints ratios of its own run.
Exit 1 only when jobs or events are missing. `--quick` is for CI.
"""

import argparse
import asyncio
import json
import os
import platform
import statistics
import sys
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

import aiormq
import asyncpg

import jobservice
from jobservice.cli.daemon_processes import DaemonProcesses
from jobservice.client.service import JobInfoService
from jobservice.servers.detect import Servers, servers
from jobservice.store.schema import apply

BATCH = 2_000
EVENTS_PER_JOB = 3
IDLE_SECONDS = 5.0
BROKER_PREFIX = EVENTS = "jobservice-benchmark"


@dataclass
class Figures:
    """One list per row of the table; a median of each is printed."""

    bulk: list[float] = field(default_factory=list)
    drained: list[float] = field(default_factory=list)
    confirmed: list[float] = field(default_factory=list)
    python: list[float] = field(default_factory=list)
    costs: dict[str, list[float]] = field(default_factory=dict)
    """Microseconds of processor time a job, by who spent them."""
    wal: list[float] = field(default_factory=list)
    latencies: list[float] = field(default_factory=list)
    stops: list[float] = field(default_factory=list)
    idle_queries: float = 0.0
    problems: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class Bench:
    """One run's servers and sizes."""

    database: asyncpg.Connection
    broker: aiormq.abc.AbstractChannel
    pids: list[int]
    server_pids: list[int]
    """Of private servers; they and their children are what the figures of cost are of."""
    jobs: int
    tenants: int

    async def drain(self, figures: Figures) -> None:
        """One round."""
        await self.database.execute("UPDATE jobservice.queue SET paused = true")
        await self.broker.queue_declare(EVENTS, durable=True, arguments={"x-queue-type": "quorum"})
        await self.broker.queue_bind(EVENTS, f"{BROKER_PREFIX}.events", routing_key="#")
        before = await self.database.fetchval("SELECT coalesce(max(number), 0) FROM jobservice.job_info")
        await self._submit(figures)
        # Asked for these alone while it runs: to look for any that waits costs more than the daemon's own statements.
        last_ones = await self.database.fetchval(
            "SELECT array_agg(id) FROM (SELECT id FROM jobservice.job_info ORDER BY number DESC LIMIT $1) j",
            self.tenants,
        )
        await self.database.execute("VACUUM ANALYZE jobservice.job_info")
        wal = await self.database.fetchval("SELECT pg_current_wal_lsn()")
        cpu, costs, begin = _cpu_seconds(self.pids), self._costs(), time.perf_counter()
        await self.database.execute("UPDATE jobservice.queue SET paused = false")
        await self.database.execute("SELECT jobservice.wake('{default}')")
        await self._until(
            "SELECT bool_and(status = 'SUCCEEDED') FROM jobservice.job_info WHERE id = ANY ($1::uuid[])", last_ones
        )
        await self._until(
            "SELECT NOT EXISTS (SELECT FROM jobservice.job_info WHERE status IN ('QUEUED', 'TO_BE_RUN', 'RUNNING'))"
        )
        figures.drained.append(self.jobs / (time.perf_counter() - begin))
        await self._until("SELECT NOT EXISTS (SELECT FROM jobservice.outbox)")
        seconds = time.perf_counter() - begin
        figures.confirmed.append(self.jobs / seconds)
        figures.python.append((_cpu_seconds(self.pids) - cpu) / seconds)
        for name, spent in self._costs().items():
            figures.costs.setdefault(name, []).append((spent - costs[name]) * 1e6 / self.jobs)
        figures.wal.append(await self.database.fetchval("SELECT pg_current_wal_lsn() - $1::pg_lsn", wal) / self.jobs)
        await self._count(before, figures)
        await self.broker.queue_delete(EVENTS)

    def _costs(self) -> dict[str, float]:
        """Seconds of processor time so far."""
        named = zip(("RabbitMQ", "PostgreSQL"), self.server_pids, strict=False)
        return {"daemons": _cpu_seconds(self.pids)} | {name: _cpu_seconds(_with_children(pid)) for name, pid in named}

    async def _submit(self, figures: Figures) -> None:
        begin = time.perf_counter()
        for first in range(0, self.jobs, BATCH):
            batch = [
                {"job_class": "NoOp", "tenant": f"t{n % self.tenants}", "parameters": {"n": n}}
                for n in range(first, min(first + BATCH, self.jobs))
            ]
            await self.database.execute("SELECT count(*) FROM jobservice.submit($1::text::jsonb)", json.dumps(batch))
        figures.bulk.append(self.jobs / (time.perf_counter() - begin))

    async def _until(self, question: str, *arguments: object) -> None:
        while not await self.database.fetchval(question, *arguments):
            await asyncio.sleep(0.01)

    async def _count(self, before: int, figures: Figures) -> None:
        succeeded = await self.database.fetchval(
            "SELECT count(*) FROM jobservice.job_info WHERE number > $1 AND status = 'SUCCEEDED' AND run = 1", before
        )
        events = (await self.broker.queue_declare(EVENTS, passive=True)).message_count or 0
        if succeeded != self.jobs:
            figures.problems.append(f"{succeeded} of {self.jobs} jobs SUCCEEDED in one run")
        if events < self.jobs * EVENTS_PER_JOB:
            figures.problems.append(f"{events} of {self.jobs * EVENTS_PER_JOB} events arrived")

    async def latency(self, count: int, figures: Figures) -> None:
        """From a job's row to its start, by the server's clock, one job at a time on an idle daemon."""
        submit = "SELECT job_id FROM jobservice.submit($1::text::jsonb)"
        for n in range(count):
            job = {"job_class": "NoOp", "parameters": {"n": n}}
            job_id = await self.database.fetchval(submit, json.dumps([job]))
            await self._until("SELECT status = 'SUCCEEDED' FROM jobservice.job_info WHERE id = $1", job_id)
            waited = await self.database.fetchval(
                "SELECT extract(epoch FROM start_date - created_date)::float8 FROM jobservice.job_info WHERE id = $1",
                job_id,
            )
            figures.latencies.append(waited * 1000)
            await self._until("SELECT bool_and(idle) FROM jobservice.daemon WHERE stopped_at IS NULL")

    async def stop(self, count: int, figures: Figures) -> None:
        """From the call of `stop` until the running job's row is ABORTED, one at a time."""
        for _ in range(count):
            job_id = await self.database.fetchval(
                'SELECT job_id FROM jobservice.submit(\'[{"job_class": "Forever"}]\'::jsonb)'
            )
            await self._until("SELECT status = 'RUNNING' FROM jobservice.job_info WHERE id = $1", job_id)
            begin = time.perf_counter()
            await self.database.execute("SELECT jobservice.stop($1)", job_id)
            while (
                await self.database.fetchval("SELECT status FROM jobservice.job_info WHERE id = $1", job_id)
                != "ABORTED"
            ):
                await asyncio.sleep(0.001)
            figures.stops.append((time.perf_counter() - begin) * 1000)

    async def idle(self, figures: Figures) -> None:
        """Transactions a second of the daemons alone, none of which is ours."""
        # Statistics arrive late: one look before, one after, and this connection's own two are taken off.
        await asyncio.sleep(1.5)
        before = await self._transactions()
        await asyncio.sleep(IDLE_SECONDS)
        figures.idle_queries = max(0, await self._transactions() - before - 2) / IDLE_SECONDS / len(self.pids)

    async def _transactions(self) -> int:
        await self.database.execute("SELECT pg_stat_clear_snapshot()")
        return int(
            await self.database.fetchval(
                "SELECT xact_commit + xact_rollback FROM pg_stat_database WHERE datname = current_database()"
            )
        )


def _cpu_seconds(pids: list[int]) -> float:
    import psutil  # a tool of development: not needed by the service

    times = [psutil.Process(pid).cpu_times() for pid in pids]
    return float(sum(each.user + each.system for each in times))


def _with_children(pid: int) -> list[int]:
    import psutil

    return [pid, *(child.pid for child in psutil.Process(pid).children(recursive=True))]


def report(figures: Figures, arguments: argparse.Namespace, versions: str) -> None:
    """The table: medians and spread."""
    print(f"{os.cpu_count()} cores, {versions}")
    print(
        f"{arguments.jobs:,} no-op jobs of {arguments.tenants} tenants, {arguments.daemons} daemon(s) of capacity "
        f"{arguments.capacity}, {arguments.rounds} round(s): median (lowest to highest)"
    )
    rows = [
        ("submitted in bulk, jobs/s", figures.bulk),
        ("SUCCEEDED in the database, jobs/s", figures.drained),
        ("and all events confirmed, jobs/s", figures.confirmed),
        ("processors used by the daemons", figures.python),
        ("WAL per job with its events, bytes", figures.wal),
        *((f"processor time of {name}, µs a job", spent) for name, spent in figures.costs.items()),
    ]
    for name, values in rows:
        digits = 2 if name.startswith("processors") else 0
        low, median, high = (f"{value:,.{digits}f}" for value in (min(values), statistics.median(values), max(values)))
        print(f"  {name:38} {median:>10} ({low} to {high})")
    ratio = statistics.median(figures.confirmed) / statistics.median(figures.drained)
    print(f"  {'confirmed : SUCCEEDED':38} {ratio:>10.2f}")
    for name, times in (
        ("submit to RUNNING when idle, ms", sorted(figures.latencies)),
        ("stop to ABORTED, ms", sorted(figures.stops)),
    ):
        p50, p99 = statistics.median(times), times[min(len(times) - 1, int(len(times) * 0.99))]
        print(f"  {name:38} {p50:>10.1f} (p99 {p99:.1f}, {len(times)} jobs)")
    print(f"  {'queries of an idle daemon, /s':38} {figures.idle_queries:>10.1f}")
    for problem in figures.problems:
        print(f"WRONG: {problem}", file=sys.stderr)


@asynccontextmanager
async def bench(arguments: argparse.Namespace, running: Servers, daemons: DaemonProcesses) -> AsyncIterator[Bench]:
    """Connections and daemons that are ready."""
    database = await asyncpg.connect(running.database_url, statement_cache_size=200)
    broker = await aiormq.connect(running.amqp_url)
    try:
        async with JobInfoService.connect(running.database_url) as client:
            await daemons.until_ready(client)
        yield Bench(
            database=database,
            broker=await broker.channel(),
            pids=daemons.pids,
            server_pids=running.stack.pids if running.stack is not None else [],
            jobs=arguments.jobs,
            tenants=arguments.tenants,
        )
    finally:
        await broker.close()
        await database.close()


async def measure(arguments: argparse.Namespace, running: Servers, daemons: DaemonProcesses) -> tuple[Figures, str]:
    """All rounds, in turn."""
    figures = Figures()
    async with bench(arguments, running, daemons) as run:
        for _ in range(arguments.rounds):
            await run.drain(figures)
        await run.latency(arguments.singles, figures)
        await run.stop(arguments.singles, figures)
        await run.idle(figures)
        server = await run.database.fetchval("SHOW server_version")
    implementation = f"Python {platform.python_version()}, jobservice {jobservice.__version__}"
    return figures, f"{implementation}, PostgreSQL {server.split()[0]}"


async def prepare(database_url: str, *, slow_commits: bool) -> None:
    """The schema, and commits of 3 ms where that is wanted: this machine's disk may be faster than a user's."""
    connection = await asyncpg.connect(database_url)
    await apply(connection)
    if slow_commits:
        name = await connection.fetchval("SELECT quote_ident(current_database())")
        await connection.execute(f"ALTER DATABASE {name} SET commit_delay = 3000")
        await connection.execute(f"ALTER DATABASE {name} SET commit_siblings = 0")
    await connection.close()


def parse() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--jobs", type=int, default=20_000)
    parser.add_argument("--tenants", type=int, default=20)
    parser.add_argument("--capacity", type=int, default=200)
    parser.add_argument("--daemons", type=int, default=1)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--singles", type=int, default=200, help="jobs for the latency")
    parser.add_argument("--slow-commits", action="store_true", help="commits take 3 ms; needs a superuser")
    parser.add_argument("--quick", action="store_true", help="2,000 jobs, one round, 30 singles")
    arguments = parser.parse_args()
    if arguments.quick:
        arguments.jobs, arguments.rounds, arguments.singles = 2_000, 1, 30
    return arguments


def main() -> int:
    """Servers, daemons, rounds, table."""
    arguments = parse()
    with servers(announce=lambda line: print(line, file=sys.stderr)) as running:
        asyncio.run(prepare(running.database_url, slow_commits=arguments.slow_commits))
        os.environ["PYTHONPATH"] = str(Path(__file__).parent)
        os.environ["JOBSERVICE_JOBS__PACKAGES"] = '["bench_jobs"]'
        os.environ["JOBSERVICE_BROKER__PREFIX"] = BROKER_PREFIX
        os.environ["JOBSERVICE_LOGS__LEVEL"] = "warning"
        words = ["--queue", "default", "--capacity", str(arguments.capacity)]
        daemons = DaemonProcesses(
            count=arguments.daemons, database_url=running.database_url, amqp_url=running.amqp_url, arguments=words
        )
        with daemons.running():
            figures, versions = asyncio.run(measure(arguments, running, daemons))
    report(figures, arguments, versions)
    return 1 if figures.problems else 0


if __name__ == "__main__":
    sys.exit(main())
