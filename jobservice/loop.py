"""The one background loop: start, stop, waking, back-off and the isolation of errors, written and tested once.

A part gives `run_once()`; it returns the seconds until it wants to run again, or None for the loop's interval.
A loop never dies of an error: it tells it, waits a little longer each time, and goes on.
"""

import asyncio
from collections.abc import Awaitable, Callable

import structlog

from jobservice.domain.errors import UnavailableError

RunOnce = Callable[[], Awaitable[float | None]]

_FIRST_DELAY = 0.05
_LONGEST_DELAY = 5.0

log = structlog.get_logger(__name__)


class Loop:
    """Runs `run_once` again and again in a task of its own, sooner when woken."""

    def __init__(self, *, name: str, run_once: RunOnce, interval: float) -> None:
        self.name = name
        self.failures = 0
        """Failed rounds in a row; 0 while all is well."""
        self.trouble: str | None = None
        """Why the last round failed; None while all is well."""
        self._run_once = run_once
        self._interval = interval
        self._woken = asyncio.Event()
        self._stopping = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Begins, with the first round at once."""
        self._task = asyncio.create_task(self._run(), name=f"loop {self.name}")

    def wake(self) -> None:
        """Ends the wait: the next round comes now, or right after the one that runs; a back-off goes on."""
        self._woken.set()

    async def stop(self, *, within: float = 5.0) -> None:
        """Lets the round that runs end; cancels it after `within` seconds."""
        self._stopping.set()
        self._woken.set()
        if self._task is not None:
            done, _ = await asyncio.wait({self._task}, timeout=within)
            if not done:
                log.warning("loop.cancel", loop=self.name, after_seconds=within)
                self._task.cancel()
                await asyncio.gather(self._task, return_exceptions=True)

    async def _run(self) -> None:
        while not self._stopping.is_set():
            self._woken.clear()
            delay = await self._round()
            if delay > 0:
                await self._wait(delay)

    async def _round(self) -> float:
        try:
            delay = await self._run_once()
        except UnavailableError as error:
            return self._failed(str(error), None)
        except Exception as error:  # noqa: BLE001 - an error in one round must not end the part
            return self._failed(str(error) or type(error).__name__, error)
        if self.failures:
            log.info("loop.recover", loop=self.name, failures=self.failures)
            self.failures = 0
            self.trouble = None
        return self._interval if delay is None else delay

    def _failed(self, reason: str, error: Exception | None) -> float:
        self.failures += 1
        self.trouble = reason
        if self.failures == 1 or error is not None:
            log.warning("loop.fail", loop=self.name, reason=reason, failures=self.failures, exc_info=error)
        return float(min(_LONGEST_DELAY, _FIRST_DELAY * 2.0 ** min(self.failures - 1, 20)))

    async def _wait(self, delay: float) -> None:
        # Waking does not shorten a back-off: no busy loop while a server is away.
        ends_it = self._stopping if self.failures else self._woken
        try:
            async with asyncio.timeout(delay):
                await ends_it.wait()
        except TimeoutError:
            return
