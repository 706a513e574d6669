"""What the pictures show: waiting against load, cost against the size of the table."""

import argparse
from pathlib import Path

from benchmarks.speed.charts import Points, chart
from benchmarks.speed.drains import Drain
from benchmarks.speed.figures import Figures, percentile
from benchmarks.speed.installation import Installation, daemons
from benchmarks.speed.open_load import steady_load

SHARES = (0.1, 0.25, 0.5, 0.65, 0.8, 0.9, 1.0, 1.1)
ROWS = (0, 100_000, 300_000, 1_000_000)
SECONDS = 4.0
# Ended jobs of 10,000 tenants, as months of work leave them.
FILL = """
    INSERT INTO jobservice.job_info (id, tenant, queue, job_class, status, run, attempt, sequence, daemon_id,
      queued_date, claim_date, start_date, stop_date, percent_completed)
    SELECT gen_random_uuid(), 't' || n % 10000, 'default', 'NoOp', 'SUCCEEDED', 1, 1, 4, gen_random_uuid(),
      clock_timestamp(), clock_timestamp(), clock_timestamp(), clock_timestamp(), 100
    FROM generate_series(1, $1::integer) n"""


async def draw(made: Installation, arguments: argparse.Namespace, directory: Path) -> Figures:
    """Three files, and what was missing on the way."""
    directory.mkdir(parents=True, exist_ok=True)
    figures = Figures()
    await _against_load(made, arguments, directory, figures)
    await _against_rows(made, arguments, directory, figures)
    return figures


async def _against_load(made: Installation, arguments: argparse.Namespace, directory: Path, figures: Figures) -> None:
    """Steady load from a tenth of the drain rate to above it."""
    lines: dict[str, list[tuple[float, float]]] = {"p50": [], "p99": [], "started": [], "offered": []}
    async with daemons(made, capacity=arguments.capacity) as pids:
        for _ in range(arguments.rounds):
            await Drain("all").run(made, pids, figures, jobs=arguments.jobs, tenants=arguments.tenants)
        rate = figures.median("confirmed all")
        for share in SHARES:
            steady = await steady_load(made, rate=rate * share, seconds=SECONDS, tenants=arguments.tenants)
            p50, p99 = percentile(steady.waits, 0.5), percentile(steady.waits, 0.99)
            print(f"  {share:5.0%} {steady.offered:8,.0f} offered/s {steady.achieved:8,.0f} started/s", end="")
            print(f" p50 {p50:8.1f} ms p99 {p99:8.1f} ms")
            for name, value in (("p50", p50), ("p99", p99), ("started", steady.achieved), ("offered", steady.offered)):
                lines[name].append((steady.offered, value))
    title = f"One daemon, all events confirmed; it drains {rate:,.0f} jobs/s"
    waits: dict[str, Points] = {"p50": lines["p50"], "p99": lines["p99"]}
    chart(
        directory / "latency-against-load.svg",
        title,
        "jobs offered a second",
        "submit to start, ms",
        waits,
        logarithmic=True,
    )
    rates: dict[str, Points] = {"started a second": lines["started"], "offered": lines["offered"]}
    chart(directory / "throughput-against-load.svg", title, "jobs offered a second", "jobs a second", rates)


async def _against_rows(made: Installation, arguments: argparse.Namespace, directory: Path, figures: Figures) -> None:
    """The same drain beside more and more ended jobs."""
    costs: dict[str, list[tuple[float, float]]] = {"daemon": [], "PostgreSQL": []}
    await made.database.execute("TRUNCATE jobservice.job_info")
    for rows, before in zip(ROWS, (0, *ROWS), strict=False):
        await made.database.execute(FILL, rows - before)
        await made.database.execute("VACUUM ANALYZE jobservice.job_info")
        await made.database.execute("CHECKPOINT")
        here = Figures()
        async with daemons(made, capacity=arguments.capacity) as pids:
            for _ in range(arguments.rounds):
                await Drain("all", costs=True).run(made, pids, here, jobs=arguments.jobs, tenants=arguments.tenants)
        figures.problems += here.problems
        print(f"  {rows:10,} ended jobs: {here.median('confirmed all'):8,.0f} confirmed/s", end="")
        print(f" {here.median('cpu daemons'):6.0f} µs daemon", end="")
        if "cpu PostgreSQL" in here.values:  # of private servers alone
            print(f" {here.median('cpu PostgreSQL'):6.0f} µs PostgreSQL {here.median('wal'):6.0f} bytes WAL", end="")
            costs["PostgreSQL"].append((rows, here.median("cpu PostgreSQL")))
        print()
        costs["daemon"].append((rows, here.median("cpu daemons")))
    chart(
        directory / "cost-against-rows.svg",
        "Processor time of a job, beside ended ones",
        "rows of ended jobs",
        "µs a job",
        costs,
    )
