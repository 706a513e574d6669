"""Sessions that wait for each other, without sleeping: a test goes on once a statement is seen to wait for a lock."""

import asyncio
from collections.abc import Coroutine
from typing import Any, TypeVar

import asyncpg

T = TypeVar("T")


async def begun(
    work: Coroutine[Any, Any, T], session: asyncpg.Connection, watcher: asyncpg.Connection
) -> asyncio.Task[T]:
    """Starts `work`, which uses `session`; returns when it waits for a lock, as `watcher` sees."""
    task = asyncio.create_task(work)
    async with asyncio.timeout(60):
        while not await watcher.fetchval("SELECT cardinality(pg_blocking_pids($1)) > 0", session.get_server_pid()):
            if task.done():
                raise AssertionError(f"it did not wait: {task.result()}")
    return task
