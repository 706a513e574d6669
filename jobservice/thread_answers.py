"""How a call on a thread of ours comes back to the loop that awaits it. Owns no thread and decides about none."""

import asyncio
from collections.abc import Callable
from contextlib import suppress
from typing import Any

Ended = tuple[Any, BaseException | None]
"""How a function ended, as a value: a future refuses StopIteration, and a thread may end in anything."""


async def awaited(answer: "asyncio.Future[Ended]", leave: Callable[[], None]) -> Any:
    """The function's value, or what it raised. `leave` is called where nobody waits for it any more."""
    try:
        value, error = await answer
    except asyncio.CancelledError:
        leave()
        raise
    if error is not None:
        try:
            raise error
        finally:
            error = None  # or the traceback would hold this frame, and this frame the traceback
    return value


def ended(function: Callable[[], Any], answer: "asyncio.Future[Ended]") -> Ended:
    """On the thread: calls it, unless nobody waits any more before it has begun."""
    if answer.cancelled():
        return None, None
    try:
        return function(), None
    except BaseException as error:  # noqa: BLE001 - given to the run, which records it
        return None, error


def tell(loop: asyncio.AbstractEventLoop, answer: "asyncio.Future[Ended]", how: Ended) -> None:
    """From the thread: gives it to who awaits it."""
    with suppress(RuntimeError):  # the loop is closed: nobody waits any more
        loop.call_soon_threadsafe(_set, answer, how)


def _set(answer: "asyncio.Future[Ended]", how: Ended) -> None:
    if not answer.done():
        answer.set_result(how)
