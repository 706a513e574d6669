"""procrastinate on psycopg 3: bulk by its batch call, many jobs at once in one worker."""

import os

import procrastinate

from benchmarks.peers.meter import ran

BATCH = 1_000
connector = procrastinate.PsycopgConnector(conninfo=os.environ.get("BENCHMARK_DATABASE", ""))
app = procrastinate.App(connector=connector)


@app.task(name="noop")
async def noop(n: int) -> None:
    ran()


async def connect() -> None:
    await app.open_async()


async def reset() -> None:
    await connector.execute_query_async("DROP SCHEMA public CASCADE")
    await connector.execute_query_async("CREATE SCHEMA public")
    await app.schema_manager.apply_schema_async()


async def bulk(count: int) -> None:
    for first in range(0, count, BATCH):
        await noop.batch_defer_async(*({"n": n} for n in range(first, min(first + BATCH, count))))


async def single() -> None:
    await noop.defer_async(n=1)


async def left() -> int:
    rows = await connector.execute_query_all_async(
        "SELECT count(*) AS n FROM (SELECT FROM procrastinate_jobs WHERE status IN ('todo', 'doing') LIMIT 1) j"
    )
    return int(rows[0]["n"])
