"""Fairness on the real thing: `python -m benchmarks.fairness_measured [--daemons N] [--capacity N] [--seconds S]`.

Real servers (private ones, or those of JOBSERVICE_DATABASE_URL and JOBSERVICE_AMQP_URL), daemons as processes, figures
from the tables alone.

  shares   tenants of equal weight that always have jobs queued, each with a length of its own: Jain's index of the
           slot-seconds that they got in a window in which all of them were waiting. Twice: as the daemons charged
           them, and from the jobs' rows.
  waits    twenty light tenants that submit one job now and then, alone and beside one with very many queued: how long
           their jobs waited from submission to start.

Figures of different machines do not compare: ratios of one run do.
"""

import argparse
import asyncio
import json
import os
import random
import statistics
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import asyncpg

from jobservice.cli.daemon_processes import DaemonProcesses
from jobservice.client.service import JobInfoService
from jobservice.servers.detect import servers
from jobservice.store.schema import apply

BATCH = 2_000
LIGHT = 20
LIGHT_MS = 5.0
MIXED = (1.0, 2.0, 5.0, 10.0, 20.0, 50.0)
ROWS = """
    SELECT tenant, sum(extract(epoch FROM least(coalesce(stop_date, $2), $2) - greatest(claim_date, $1)))::float8
    FROM jobservice.job_info WHERE claim_date < $2 AND coalesce(stop_date, $2) > $1 GROUP BY tenant ORDER BY tenant"""
CHARGED = "SELECT tenant, charged FROM jobservice.tenant_account ORDER BY tenant"
WAITS = """
    SELECT extract(epoch FROM start_date - created_date)::float8 * 1000
    FROM jobservice.job_info WHERE tenant LIKE 'light%' AND start_date IS NOT NULL"""


async def submit(database: asyncpg.Connection, jobs: Sequence[tuple[str, float]]) -> None:
    """Jobs as (tenant, milliseconds), in their order."""
    for first in range(0, len(jobs), BATCH):
        batch = [
            {"job_class": "Hold", "tenant": tenant, "parameters": {"milliseconds": length}}
            for tenant, length in jobs[first : first + BATCH]
        ]
        await database.execute("SELECT count(*) FROM jobservice.submit($1::text::jsonb)", json.dumps(batch))


async def clear(database: asyncpg.Connection) -> None:
    """No queued jobs, none running, no rows, no charges."""
    await database.execute("UPDATE jobservice.queue SET paused = true")
    await database.execute("DELETE FROM jobservice.job_info WHERE status = 'QUEUED'")
    while await database.fetchval("SELECT EXISTS (SELECT FROM jobservice.job_info WHERE stop_date IS NULL)"):
        await asyncio.sleep(0.02)
    await database.execute("DELETE FROM jobservice.job_info")
    await database.execute("DELETE FROM jobservice.tenant_account")
    await database.execute("VACUUM ANALYZE jobservice.job_info")


async def resume(database: asyncpg.Connection) -> None:
    """Lets the daemons claim."""
    await database.execute("UPDATE jobservice.queue SET paused = false")
    await database.execute("SELECT jobservice.wake('{default}')")


@dataclass(frozen=True)
class Shares:
    """Slot-seconds by tenant: as daemons charged them, and from rows."""

    charged: dict[str, float]
    rows: dict[str, float]


async def shares(
    database: asyncpg.Connection, lengths: Sequence[float], *, slots: int, seconds: float, warm: float = 1.0
) -> Shares:
    """Tenants are named after their jobs' milliseconds; 0 stands for mixed lengths."""
    await clear(database)
    draw = random.Random(1)
    for nth, length in enumerate(lengths):
        each = length or statistics.mean(MIXED)
        count = int((seconds + warm + 2) * slots * 1000 / (each + 1.0) / min(len(lengths), 3)) + 50
        tenant = f"t{nth}-{length:g}ms" if length else f"t{nth}-mixed"
        await submit(database, [(tenant, length or draw.choice(MIXED)) for _ in range(count)])
    await resume(database)
    await asyncio.sleep(warm)
    begin = await database.fetchval("SELECT clock_timestamp()")
    before = {row[0]: row[1] for row in await database.fetch(CHARGED)}
    await asyncio.sleep(seconds)
    end = await database.fetchval("SELECT clock_timestamp()")
    after = {row[0]: row[1] for row in await database.fetch(CHARGED)}
    waiting = await database.fetchval("SELECT count(DISTINCT tenant) FROM jobservice.job_info WHERE status = 'QUEUED'")
    if waiting < len(lengths):
        print(f"WRONG: only {waiting} of {len(lengths)} tenants still had jobs queued", file=sys.stderr)
    rows = {row[0]: row[1] for row in await database.fetch(ROWS, begin, end)}
    return Shares({tenant: charged - before.get(tenant, 0.0) for tenant, charged in after.items()}, rows)


def jain(parts: Sequence[float]) -> float:
    """1 when all are equal, 1/n when one has all."""
    return sum(parts) ** 2 / (len(parts) * sum(part * part for part in parts))


async def waits(database: asyncpg.Connection, *, hot: int, seconds: float) -> list[float]:
    """Milliseconds from submission to start of the light tenants' jobs, sorted."""
    await clear(database)
    draw = random.Random(2)
    await submit(database, [("hot", draw.choice(MIXED)) for _ in range(hot)])
    await resume(database)
    await asyncio.sleep(1.0)
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        await submit(database, [(f"light{draw.randrange(LIGHT):02}", LIGHT_MS)])
        await asyncio.sleep(draw.expovariate(40))
    left = await database.fetchval(
        "SELECT count(*) FROM jobservice.job_info WHERE tenant = 'hot' AND status = 'QUEUED'"
    )
    if hot and not left:
        print("WRONG: the hot tenant ran dry", file=sys.stderr)
    return sorted(row[0] for row in await database.fetch(WAITS))


def at(values: Sequence[float], part: float) -> float:
    """A percentile of sorted values."""
    return values[min(len(values) - 1, int(len(values) * part))]


async def measure(arguments: argparse.Namespace, database_url: str, daemons: DaemonProcesses) -> None:
    """Both parts, printed as they come."""
    slots = arguments.capacity * arguments.daemons
    async with JobInfoService.connect(database_url) as client:
        await daemons.until_ready(client)
    database = await asyncpg.connect(database_url)
    print(f"{os.cpu_count()} cores, {arguments.daemons} daemon(s) of capacity {arguments.capacity}", flush=True)
    for lengths in arguments.lengths:
        got = await shares(database, lengths, slots=slots, seconds=arguments.seconds)
        for name, parts in (("charged", got.charged), ("from rows", got.rows)):
            print(f"  {len(lengths)} tenants, slot-seconds {name}: Jain {jain(list(parts.values())):.4f}; ", end="")
            print(", ".join(f"{tenant} {seconds:.1f}" for tenant, seconds in parts.items()), flush=True)
    alone = await waits(database, hot=0, seconds=arguments.seconds)
    beside = await waits(database, hot=arguments.hot, seconds=arguments.seconds)
    print(f"  waits of {LIGHT} light tenants, ms, alone and beside {arguments.hot:,} queued jobs of one other")
    for name, part in (("median", 0.5), ("p90", 0.9), ("p99", 0.99), ("longest", 1.0)):
        print(f"    {name:8} {at(alone, part):8.1f} {at(beside, part):8.1f}  {at(beside, part) / at(alone, part):6.2f}")
    print(f"    jobs     {len(alone):8} {len(beside):8}")
    await clear(database)
    await database.close()


def parse() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.fairness_measured",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--daemons", type=int, default=2)
    parser.add_argument("--capacity", type=int, default=10)
    parser.add_argument("--seconds", type=float, default=20.0)
    parser.add_argument("--hot", type=int, default=100_000)
    parser.add_argument(
        "--lengths",
        type=lambda text: [float(part) for part in text.split(",")],
        action="append",
        help="milliseconds, one a tenant, 0 for a mix; may be repeated",
    )
    arguments = parser.parse_args()
    arguments.lengths = arguments.lengths or [[1, 50], [1, 5, 20, 50, 0, 0, 0]]
    return arguments


def main() -> int:
    """Servers, daemons, both parts."""
    arguments = parse()
    with servers(announce=lambda line: print(line, file=sys.stderr)) as running:
        asyncio.run(prepare(running.database_url))
        os.environ["PYTHONPATH"] = os.pathsep.join([str(Path(__file__).parent), os.environ.get("PYTHONPATH", "")])
        os.environ["JOBSERVICE_JOBS__PACKAGES"] = '["fair_jobs"]'
        os.environ["JOBSERVICE_BROKER__PREFIX"] = "jobservice-fairness"
        os.environ["JOBSERVICE_LOGS__LEVEL"] = "warning"
        daemons = DaemonProcesses(
            count=arguments.daemons, database_url=running.database_url, amqp_url=running.amqp_url,
            arguments=["--queue", "default", "--capacity", str(arguments.capacity)],
        )  # fmt: skip
        with daemons.running():
            asyncio.run(measure(arguments, running.database_url, daemons))
    return 0


async def prepare(database_url: str) -> None:
    """The schema."""
    connection = await asyncpg.connect(database_url)
    await apply(connection)
    await connection.close()


if __name__ == "__main__":
    sys.exit(main())
