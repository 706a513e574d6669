"""A big table in minutes: `python -m benchmarks.big_table URL [--finished N] [--queued N] [--tenants N]`.

Used by the benchmarks at full size and by the tests of query plans at a small one. It writes rows as whole lives would
have left them, straight into an empty schema; no verb is called, nothing is published. Ten million take about five
minutes and 10 GB.
"""

import argparse
import asyncio
import time
from typing import Final
from uuid import UUID

import asyncpg

DAEMON: Final = UUID(int=0xB16)
"""The one that ended them all: alive in the books, so that it may claim."""
CHUNK = 500_000

_DAEMON = """
INSERT INTO jobservice.daemon (id, host, pid, version, queues, job_classes, capacity)
VALUES ($1, 'host', 1, '1', ARRAY[$2], '{NoOp}', 100) ON CONFLICT DO NOTHING
"""
_QUEUE = "INSERT INTO jobservice.queue (queue) VALUES ($1) ON CONFLICT DO NOTHING"

# Ids of version 7, in the order of the jobs' dates; of ten jobs eight have succeeded, one failed, one was stopped.
_FINISHED = """
INSERT INTO jobservice.job_info
       (id, tenant, queue, job_class, status, run, attempt, sequence, daemon_id, parameters, created_date, queued_date,
        claim_date, start_date, stop_date, percent_completed, error_type, error_message)
SELECT (lpad(to_hex((extract(epoch FROM d.at) * 1000)::bigint), 12, '0') || '7' || substr(md5(n::text), 1, 3)
        || '8' || substr(md5(n::text), 4, 15))::uuid,
       't' || n % $3, $4, 'NoOp', CASE n % 10 WHEN 0 THEN 'FAILED' WHEN 1 THEN 'ABORTED' ELSE 'SUCCEEDED' END,
       1, 1, 4, $5, '{"n": 1}', d.at, d.at, d.at, d.at, d.at + interval '1 second',
       CASE WHEN n % 10 > 1 THEN 100 ELSE 0 END, CASE WHEN n % 10 = 0 THEN 'ValueError' END,
       CASE WHEN n % 10 = 0 THEN 'no' END
FROM generate_series($1::bigint, $2::bigint) n,
     LATERAL (SELECT now() - interval '1 day' - ($6 - n) * interval '10 milliseconds' AS at) d
"""
_QUEUED = """
INSERT INTO jobservice.job_info (id, tenant, queue, job_class, status, parameters, created_date, queued_date)
SELECT jobservice.new_job_id(), 't' || n % $2, $3, 'NoOp', 'QUEUED', '{"n": 1}', now(), now()
FROM generate_series(1, $1::bigint) n
"""


async def fill(
    connection: asyncpg.Connection, *, finished: int, queued: int, tenants: int, queue: str = "default"
) -> None:
    """Fills the schema `jobservice`: ended jobs first, oldest first, then those that wait, tenant by tenant in turn."""
    await connection.execute(_QUEUE, queue)
    await connection.execute(_DAEMON, DAEMON, queue)
    for first in range(1, finished + 1, CHUNK):
        last = min(first + CHUNK - 1, finished)
        await connection.execute(_FINISHED, first, last, tenants, queue, DAEMON, finished)
    await connection.execute(_QUEUED, queued, tenants, queue)
    await connection.execute("VACUUM ANALYZE")


async def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("url", help="of a database with the schema and nothing in it")
    parser.add_argument("--finished", type=int, default=10_000_000)
    parser.add_argument("--queued", type=int, default=100_000)
    parser.add_argument("--tenants", type=int, default=10_000)
    arguments = parser.parse_args()
    connection = await asyncpg.connect(arguments.url)
    begin = time.perf_counter()
    await fill(connection, finished=arguments.finished, queued=arguments.queued, tenants=arguments.tenants)
    size = await connection.fetchval("SELECT pg_size_pretty(pg_database_size(current_database()))")
    print(f"{arguments.finished:,} finished and {arguments.queued:,} queued jobs of {arguments.tenants:,} tenants, "
          f"{size}, in {time.perf_counter() - begin:.0f} s")  # fmt: skip
    await connection.close()


if __name__ == "__main__":
    asyncio.run(main())
