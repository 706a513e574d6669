"""What is measured: servers with the schema, sessions on them, and daemons as processes."""

import asyncio
import contextlib
import json
import math
import os
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

import aiormq
import asyncpg

from benchmarks.speed.processes import cpu_seconds, with_children
from jobservice.cli.daemon_processes import DaemonProcesses
from jobservice.servers.detect import Servers
from jobservice.store.schema import apply

PREFIX = "jobservice-benchmark"
BATCH = 2_000
READY_SECONDS = 60.0
_LOOK = 0.01
_SETTLE_SECONDS = 180.0
_AT_REST = 0.08
"""Seconds of a processor that servers take in a second which nobody uses but an idle daemon, at most."""
ENDED = """
    SELECT NOT EXISTS (SELECT FROM jobservice.job_info WHERE status = 'QUEUED' AND NOT blocked)
       AND NOT EXISTS (SELECT FROM jobservice.job_info WHERE status IN ('TO_BE_RUN', 'RUNNING'))"""
"""Whether no job is under way, in the words of the partial indexes."""
SUBMIT = "SELECT job_id FROM jobservice.submit($1::text::jsonb)"


@dataclass(frozen=True)
class Installation:
    """Servers, and one session on each."""

    servers: Servers
    database: asyncpg.Connection
    broker: aiormq.abc.AbstractChannel
    rabbitmq: str

    async def until(self, question: str, *arguments: object) -> None:
        """Ask again and again."""
        while not await self.database.fetchval(question, *arguments):
            await asyncio.sleep(_LOOK)

    async def pause(self, events: str = "all") -> None:
        """Nothing is claimed from now on; what is claimed later publishes `events`."""
        await self.database.execute("UPDATE jobservice.queue SET paused = true, events = $1", events)

    async def resume(self) -> None:
        """Everything may be claimed."""
        await self.database.execute("UPDATE jobservice.queue SET paused = false")
        await self.database.execute("SELECT jobservice.wake('{default}')")

    async def submit(self, jobs: int, tenants: int) -> None:
        """Jobs in bulk: batches of 2,000, each one call of the SQL function that everybody uses."""
        for first in range(0, jobs, BATCH):
            batch = [
                {"job_class": "NoOp", "tenant": f"t{n % tenants}", "parameters": {"n": n}}
                for n in range(first, min(first + BATCH, jobs))
            ]
            await self.database.execute(f"SELECT count(*) FROM ({SUBMIT}) j", json.dumps(batch))

    async def quiet(self) -> None:
        """Until no job is under way, every event is confirmed, and each daemon waits for work."""
        await self.until(ENDED)
        await self.until("SELECT NOT EXISTS (SELECT FROM jobservice.outbox)")
        await self.until("SELECT bool_and(idle) FROM jobservice.daemon WHERE stopped_at IS NULL")

    async def settle(self) -> None:
        """Until the servers have also cleared away and written out what was left behind, which takes up to minutes."""
        await self.quiet()
        await self.database.execute("VACUUM (ANALYZE)")
        await self.database.execute("CHECKPOINT")
        async with asyncio.timeout(_SETTLE_SECONDS):
            spent = math.inf
            while spent > _AT_REST:
                before = sum(self.server_seconds().values())
                await asyncio.sleep(1.0)
                spent = sum(self.server_seconds().values()) - before

    @contextlib.asynccontextmanager
    async def without_vacuum(self) -> AsyncIterator[None]:
        """No vacuum by itself meanwhile; servers that are not private are left as they are."""
        private = self.servers.stack is not None
        try:
            if private:
                await self.database.execute("ALTER SYSTEM SET autovacuum = off")
                await self.database.execute("SELECT pg_reload_conf()")
            yield
        finally:
            if private:
                await self.database.execute("ALTER SYSTEM RESET autovacuum")
                await self.database.execute("SELECT pg_reload_conf()")

    def server_seconds(self) -> dict[str, float]:
        """Processor time of private servers so far."""
        pids = self.servers.stack.pids if self.servers.stack is not None else []
        named = zip(("RabbitMQ", "PostgreSQL"), pids, strict=False)
        return {name: cpu_seconds(with_children([pid])) for name, pid in named}


@contextlib.asynccontextmanager
async def installation(servers: Servers, *, slow_commits: bool = False) -> AsyncIterator[Installation]:
    """The schema applied; with `slow_commits` each takes 3 ms: this machine's disk may be faster than a user's."""
    database = await asyncpg.connect(servers.database_url, statement_cache_size=200)
    broker = await aiormq.connect(servers.amqp_url)
    try:
        await apply(database)
        await database.execute("SET enable_seqscan = off")  # to look on must not cost what grows with the table
        if slow_commits:
            name = await database.fetchval("SELECT quote_ident(current_database())")
            await database.execute(f"ALTER DATABASE {name} SET commit_delay = 3000")
            await database.execute(f"ALTER DATABASE {name} SET commit_siblings = 0")
        version = str(broker.server_properties.get("version", "unknown"))
        yield Installation(servers, database, await broker.channel(), version)
    finally:
        await broker.close()
        await database.close()


@contextlib.asynccontextmanager
async def daemons(
    made: Installation, *, count: int = 1, capacity: int | None = 200, processes: int = 1, run: bool = True
) -> AsyncIterator[list[int]]:
    """Daemons that are ready, and the ids of their processes; drained at the end. Without capacity: the default.

    Those that do not `run` jobs take submissions only.
    """
    os.environ |= {
        "PYTHONPATH": str(Path(__file__).parents[1]),
        "JOBSERVICE_JOBS__PACKAGES": '["bench_jobs"]',
        "JOBSERVICE_BROKER__PREFIX": PREFIX,
        "JOBSERVICE_LOGS__LEVEL": "warning",
    }
    words = ["--queue", "default", "--processes", str(processes), *([] if run else ["--no-run"])]
    started = DaemonProcesses(
        count=count,
        database_url=made.servers.database_url,
        amqp_url=made.servers.amqp_url,
        arguments=words if capacity is None else [*words, "--capacity", str(capacity)],
    )
    with started.running():
        async with asyncio.timeout(READY_SECONDS):
            ready = "SELECT count(*) = $1 AND bool_and(idle = $2) FROM jobservice.daemon WHERE stopped_at IS NULL"
            while not await made.database.fetchval(ready, count * processes, run):
                started.check()
                await asyncio.sleep(_LOOK)
        yield with_children(started.pids)
