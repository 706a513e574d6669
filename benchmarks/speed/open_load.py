"""Jobs that come at a steady rate whether or not the daemons keep up: how long they wait for their start."""

import asyncio
import json
import time
from dataclasses import dataclass
from uuid import UUID

import asyncpg

from benchmarks.speed.installation import SUBMIT, Installation

TICK = 0.02
SESSIONS = 4


@dataclass(frozen=True)
class Steady:
    """What came of some seconds of it."""

    offered: float
    """Jobs a second."""
    achieved: float
    """Starts a second from the first to the last."""
    waits: list[float]
    """Milliseconds from the moment that a job was meant to come, however late it was sent."""


async def steady_load(made: Installation, *, rate: float, seconds: float, tenants: int) -> Steady:
    """`rate` jobs a second in bursts every 20 ms."""
    pool = await asyncpg.create_pool(made.servers.database_url, min_size=SESSIONS, max_size=SESSIONS)
    try:
        base = await made.database.fetchval("SELECT extract(epoch FROM clock_timestamp())::float8")
        sent = await _send(pool, rate, seconds, tenants)
        await made.quiet()
        rows = await made.database.fetch(
            "SELECT id, extract(epoch FROM start_date)::float8 AS started FROM jobservice.job_info WHERE id = ANY ($1)",
            [job_id for _, ids in sent for job_id in ids],
        )
    finally:
        await pool.close()
    started = {row["id"]: row["started"] for row in rows}
    waits = [(started[job_id] - base - due) * 1000 for due, ids in sent for job_id in ids]
    took = max(started.values()) - base
    return Steady(offered=len(waits) / seconds, achieved=len(waits) / max(took, seconds), waits=waits)


async def _send(pool: asyncpg.Pool, rate: float, seconds: float, tenants: int) -> list[tuple[float, list[UUID]]]:
    """Seconds after the beginning at which each burst was due, and its jobs."""
    began, sent, number = time.perf_counter(), [], 0

    async def burst(due: float, first: int, last: int) -> None:
        jobs = [{"job_class": "NoOp", "tenant": f"t{n % tenants}", "parameters": {"n": n}} for n in range(first, last)]
        sent.append((due, [row[0] for row in await pool.fetch(SUBMIT, json.dumps(jobs))]))

    async with asyncio.TaskGroup() as group:
        for tick in range(int(seconds / TICK)):
            due = tick * TICK
            await asyncio.sleep(max(0.0, began + due - time.perf_counter()))
            last = int(rate * (tick + 1) * TICK)
            if last > number:
                group.create_task(burst(due, number, last))
            number = last
    return sent
