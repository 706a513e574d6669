"""Owns why a run is to end, and the means: the cancel of its task, and the timers of its timeout and its grace.

It knows neither the job nor where outcomes go; the run decides when to use what.
"""

import asyncio
from collections.abc import Callable
from contextlib import suppress
from typing import Any

from jobservice.domain.errors import JobTimeout


class Ending:
    """The end of one run as it is asked for from outside. Used from the event loop's thread; `reason` from any."""

    __slots__ = ("_task", "_timers", "cancel_sent", "leaving", "stop_reason", "timed_out")

    def __init__(self) -> None:
        self.stop_reason: str | None = None
        """Somebody asked to stop the job."""
        self.timed_out: JobTimeout | None = None
        self.leaving: str | None = None
        """The run ends without an end of its job."""
        self.cancel_sent = False
        self._task: asyncio.Task[Any] | None = None
        self._timers: list[asyncio.TimerHandle] = []

    @property
    def reason(self) -> str | None:
        """Why the job is to end now, or None while it may go on."""
        return self.stop_reason or (str(self.timed_out) if self.timed_out is not None else self.leaving)

    @property
    def cancelled_by_others(self) -> bool:
        """Whether the task is being cancelled, and not by this run."""
        return self._task is not None and not self.cancel_sent and self._task.cancelling() > 0

    def watch_over(self, task: asyncio.Task[Any] | None) -> None:
        """The run has begun, in this task."""
        self._task = task

    def cancel(self) -> None:
        """Cancels the task, once."""
        if self._task is not None and not self.cancel_sent:
            self.cancel_sent = True
            self._task.cancel()

    def after(self, seconds: float, do: Callable[[], None]) -> None:
        """Calls `do` unless the run has ended by then."""
        if self._task is not None:
            self._timers.append(self._task.get_loop().call_later(seconds, do))

    def disarm(self) -> None:
        """The run has ended: no timer counts any more."""
        for timer in self._timers:
            timer.cancel()

    async def settle_cancel(self) -> None:
        """Takes back the run's own cancel, so that only the pool's is left."""
        # A job that returned before its next await has not met the cancel; left over, it would cancel this task's end.
        with suppress(asyncio.CancelledError):
            await asyncio.sleep(0)
        if self._task is not None and self._task.uncancel() > 0:
            raise asyncio.CancelledError
