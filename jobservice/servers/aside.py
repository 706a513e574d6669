"""Runs one coroutine to its end in a thread of its own, whether or not the caller's thread has an event loop."""

import asyncio
from collections.abc import Coroutine
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

_Result = TypeVar("_Result")


def run_aside(work: Coroutine[Any, Any, _Result]) -> _Result:
    """Return what `work` returns; blocks the caller, and leaves its event loop and policy alone."""
    with ThreadPoolExecutor(max_workers=1) as thread:
        return thread.submit(asyncio.run, work).result()
