"""How many single submissions a second, ten at a time."""

import asyncio
import contextlib
import json
import time
from collections.abc import Awaitable, Callable

import asyncpg

from benchmarks.speed.installation import PREFIX, SUBMIT, Installation
from benchmarks.speed.light_client import light_client
from jobservice import JobInfo, JobInfoService

AT_A_TIME = 10


async def by_sql(made: Installation, seconds: float) -> list[float]:
    """Over ten sessions, each waiting for its commit."""
    job = json.dumps([{"job_class": "NoOp", "parameters": {"n": 1}}])
    async with contextlib.AsyncExitStack() as held:
        sessions = [await asyncpg.connect(made.servers.database_url) for _ in range(AT_A_TIME)]
        for session in sessions:
            held.push_async_callback(session.close)
        return await _rates([lambda s=session: s.fetchval(SUBMIT, job) for session in sessions], seconds)


async def by_amqp(made: Installation, seconds: float) -> list[float]:
    """Over one connection, each waiting for the answer, which comes after the commit."""
    job = json.dumps({"job_class": "NoOp", "parameters": {"n": 1}}).encode()
    async with light_client(made.servers.amqp_url) as client:
        return await _rates([lambda: client.submit("default", job)] * AT_A_TIME, seconds)


async def by_client(made: Installation, seconds: float) -> list[float]:
    """By messages, too, of the Python client, whose own cost is in it."""
    job = JobInfo(job_class="NoOp", parameters={"n": 1})
    async with JobInfoService.connect(amqp_url=made.servers.amqp_url, prefix=PREFIX) as client:
        return await _rates([lambda: client.create_as_queued(job)] * AT_A_TIME, seconds)


async def _rates(calls: list[Callable[[], Awaitable[object]]], seconds: float) -> list[float]:
    """Calls a second of all together, in three parts of the time."""
    done, rates, over = [0], [], asyncio.Event()

    async def repeat(call: Callable[[], Awaitable[object]]) -> None:
        while not over.is_set():
            await call()
            done[0] += 1

    async with asyncio.TaskGroup() as group:
        for call in calls:
            group.create_task(repeat(call))
        await asyncio.sleep(seconds / 6)  # connections and plans are warm then
        for _ in range(3):
            before, began = done[0], time.perf_counter()
            await asyncio.sleep(seconds / 3)
            rates.append((done[0] - before) / (time.perf_counter() - began))
        over.set()  # each ends the call that it is in: an answer that nobody awaits is a warning of the daemon's
    return rates
