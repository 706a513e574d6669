"""How services outside wait for a server: with a deadline, and told apart from their own cancellation."""

import asyncio
import math
from collections.abc import Coroutine
from typing import Any, TypeVar

import aiormq
import asyncpg

T = TypeVar("T")

# aiormq says RuntimeError for a channel that is closed, asyncpg InternalClientError for some moments of a loss.
AWAY = (
    OSError,
    asyncpg.PostgresError,
    asyncpg.InterfaceError,
    asyncpg.InternalClientError,
    aiormq.AMQPError,
    RuntimeError,
    StopAsyncIteration,
)
"""What clients get from servers that are not there."""


async def patiently(work: Coroutine[Any, Any, T], seconds: float) -> T:
    """The result of `work`. ConnectionError when it takes longer, or when the driver cancels it (aiormq does)."""
    task = asyncio.ensure_future(work)
    try:
        done, _ = await asyncio.wait({task}, timeout=None if seconds == math.inf else seconds)
    except asyncio.CancelledError:
        task.cancel()
        raise
    if not done or task.cancelled():
        task.cancel()
        raise ConnectionError("no answer")
    return task.result()
