"""How many claims pass a queue's turnstile: `python -m benchmarks.turnstile [--slow-commits]`.

Claimers are sessions on a real server that call `claim` for a daemon of their own, without a daemon behind them; what
they have claimed they delete. First how long one claim takes by the number of tenants that have work, each undone; then
how many a second several of them get through one turnstile, and how long each waits for its turn.

Figures of different machines do not compare.
"""

import argparse
import asyncio
import statistics
import sys
import time
from uuid import UUID, uuid4

import asyncpg

from benchmarks.speed.figures import percentile
from benchmarks.speed.installation import Installation, installation
from jobservice.servers.detect import servers

SLOTS = 100
TENANTS = (1, 20, 1_000, 5_000)
JOBS = 10_000
CLAIMERS = (1, 2, 8, 32)
REPEAT = 30
CLAIM = "SELECT count(id) FROM jobservice.claim('default', $2, $1, '{}', '{}', '{}')"
EMPTY = """
    TRUNCATE jobservice.job_info, jobservice.tenant_account, jobservice.tenant_call, jobservice.claim_bound,
             jobservice.outbox"""
ENROL = """
    INSERT INTO jobservice.daemon (id, host, pid, version, queues, job_classes, capacity)
    VALUES ($1, 'nowhere', 1, '0', '{default}', '{NoOp}', 1000)"""


async def fill(made: Installation, tenants: int) -> None:
    """Jobs of so many tenants, and nothing else."""
    await made.database.execute(EMPTY)
    await made.database.execute("INSERT INTO jobservice.queue (queue) VALUES ('default') ON CONFLICT DO NOTHING")
    await made.submit(JOBS, tenants)
    await made.database.execute("VACUUM ANALYZE jobservice.job_info")


async def single(made: Installation, tenants: int) -> None:
    """One claim at a time, undone."""
    await fill(made, tenants)
    me, times = uuid4(), []
    await made.database.execute(ENROL, me)
    await made.database.fetchval(CLAIM, me, 0)  # who has called is taken in once
    for _ in range(REPEAT):
        change = made.database.transaction()
        await change.start()
        began = time.perf_counter()
        await made.database.fetchval(CLAIM, me, SLOTS)
        times.append((time.perf_counter() - began) * 1000)
        await change.rollback()
    print(
        f"  {tenants:6,} tenants with work: a claim of {SLOTS} takes {statistics.median(times):6.1f} ms"
        f" (p99 {percentile(times, 0.99):.1f})"
    )


async def several(made: Installation, claimers: int, slots: int) -> None:
    """Until all is claimed, each claim committed."""
    await fill(made, 20)
    times: list[float] = []

    async def claimer(me: UUID) -> None:
        session = await asyncpg.connect(made.servers.database_url)
        try:
            await session.execute(ENROL, me)
            got = 1
            while got:
                began = time.perf_counter()
                got = await session.fetchval(CLAIM, me, slots)
                times.append((time.perf_counter() - began) * 1000)
                await session.execute("DELETE FROM jobservice.job_info WHERE daemon_id = $1", me)
        finally:
            await session.close()

    began = time.perf_counter()
    async with asyncio.TaskGroup() as group:
        for _ in range(claimers):
            group.create_task(claimer(uuid4()))
    seconds = time.perf_counter() - began
    print(
        f"  {claimers:3} claimers of {slots:3}: {len(times) / seconds:6,.0f} claims/s {JOBS / seconds:8,.0f} jobs/s,"
        f" each p50 {statistics.median(times):6.1f} ms p99 {percentile(times, 0.99):6.1f} ms"
    )


async def main(slow_commits: bool) -> None:
    """Both parts."""
    with servers(announce=lambda line: print(line, file=sys.stderr)) as running:
        async with installation(running, slow_commits=slow_commits) as made:
            for tenants in TENANTS:
                await single(made, tenants)
            for claimers in CLAIMERS:
                for slots in (10, SLOTS):
                    await several(made, claimers, slots)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--slow-commits", action="store_true", help="commits take 3 ms; needs a superuser")
    asyncio.run(main(parser.parse_args().slow_commits))
