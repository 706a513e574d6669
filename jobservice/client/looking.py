"""Owns how long it is until the next look at what somebody waits for in the database."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import Final, TypeVar

S = TypeVar("S")

FIRST: Final = 0.02
LONGEST: Final = 1.0
"""Seconds until the first look, and between the last ones."""


async def until(
    final: Callable[[S], bool], status: Callable[[], Awaitable[S]], what: str, timeout: float | None
) -> None:
    """Look at `status` after 20 ms and ever more seldom, at last each second, until it is final.

    Raises TimeoutError after `timeout` seconds.
    """
    deadline = time.monotonic() + timeout if timeout is not None else float("inf")
    pause = FIRST
    while not final(seen := await status()):
        left = deadline - time.monotonic()
        if left <= 0:
            raise TimeoutError(f"{what} is still {seen} after {timeout:g} s")
        await asyncio.sleep(min(pause, left))
        pause = min(pause * 1.5, LONGEST)
