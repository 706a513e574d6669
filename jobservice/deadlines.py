"""Waiting with an end: for an event, or for something to be done. Knows nothing of what is waited for."""

import asyncio
from collections.abc import Awaitable

from jobservice.domain.errors import UnavailableError


async def set_within(event: asyncio.Event, seconds: float) -> bool:
    """Whether the event was set within so many seconds."""
    return await done_within(event.wait(), seconds)


async def done_within(awaitable: Awaitable[object], seconds: float) -> bool:
    """Whether it was done within so many seconds; it is cancelled then, and a server that is away is no error."""
    try:
        async with asyncio.timeout(seconds):
            await awaitable
    except (TimeoutError, UnavailableError):
        return False
    return True
