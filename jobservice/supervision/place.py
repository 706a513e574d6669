"""The place of one worker: keeps one running in it, starts another when it dies, later each time that it dies soon."""

import asyncio
import signal
import time
from collections.abc import Awaitable, Callable
from typing import Any

import structlog

from jobservice.broker.backoff import Backoff
from jobservice.deadlines import set_within
from jobservice.supervision.worker import Worker

log = structlog.get_logger(__name__)

FIRST_RESTART_SECONDS = 0.5
LONGEST_RESTART_SECONDS = 30.0
LIVED_WELL_SECONDS = 60.0
"""A worker that lived so long did not die of its start: the next is started as soon as the first one was."""
ANSWER_SECONDS = 0.8
"""How long a worker may take to say how it is: less than the second for which probers usually wait."""

Start = Callable[[Callable[[], None]], Awaitable[Worker]]


class Place:
    """`keep` runs until the worker leaves as ordered, or `draining` is set and it has ended."""

    def __init__(self, *, start: Start, draining: asyncio.Event, begun: asyncio.Event) -> None:
        self.worker: Worker | None = None
        self.has_started = False
        """Whether a worker in this place has got as far as to work."""
        self.is_left = False
        """Whether its worker was told to drain, and did."""
        self._start = start
        self._draining = draining
        self._begun = begun
        self._at_once: bool | None = None
        """The order to leave, once there is one."""
        self._restarts = 0
        self._restart_at = 0.0
        self._backoff = Backoff(first=FIRST_RESTART_SECONDS, longest=LONGEST_RESTART_SECONDS)

    async def keep(self) -> int:
        """The exit status of the last worker, or minus the signal that ended it.

        Before any worker has begun, one that ends by itself ends this: what stops the first would stop all.
        """
        while True:
            status = await self._one_life()
            if self._draining.is_set() or self.is_left or self._is_refusal(status):
                return status
            self._restarts += 1
            if await set_within(self._draining, self._restart_at - time.monotonic()):
                return 0  # the end of the last one has been told, and its jobs run elsewhere

    def drain(self, *, at_once: bool) -> None:
        """Orders its worker to leave, also one that is just being started."""
        self._at_once = at_once
        if self.worker is not None:
            self.worker.drain(at_once=at_once)

    async def describe(self) -> dict[str, Any]:
        """Its worker for a reader of `/readyz`: all that it says itself, or why it says nothing."""
        absent = "left" if self.is_left else "restarting" if self._restarts else "not_started"
        told: dict[str, Any] = {"ok": False, "state": absent, "pid": None, "restarts": self._restarts}
        worker = self.worker
        if worker is not None:
            answer = await worker.ask(ANSWER_SECONDS)
            told |= {"state": "silent" if answer is None else "running", "pid": worker.pid}
            if answer is not None:
                told |= answer["facts"] | {"ok": answer["ok"]}
        return told

    async def _one_life(self) -> int:
        try:
            self.worker = worker = await self._start(self._has_begun)
        except OSError as error:
            log.error("worker.no_start", reason=str(error), restart_in_seconds=self._after(0.0))
            return -1
        log.info("worker.start", pid=worker.pid)
        if self._at_once is not None:
            worker.drain(at_once=self._at_once)
        status = await worker.ended()
        self.worker = None
        self.is_left = worker.has_left
        self._tell_end(worker, status)
        return status

    def _has_begun(self) -> None:
        self.has_started = True
        self._begun.set()

    def _is_refusal(self, status: int) -> bool:
        return status > 0 and not self._begun.is_set()

    def _tell_end(self, worker: Worker, status: int) -> None:
        facts: dict[str, Any] = {"pid": worker.pid, "lived_seconds": round(worker.lived_seconds, 1), **_ending(status)}
        if self._draining.is_set() or self.is_left:
            (log.info if status == 0 else log.error)("worker.leave", **facts)
        elif self._is_refusal(status):
            log.error("worker.refuse", **facts)
        else:
            log.error("worker.die", **facts, restart_in_seconds=self._after(worker.lived_seconds))

    def _after(self, lived_seconds: float) -> float:
        if lived_seconds >= LIVED_WELL_SECONDS:
            self._backoff.reset()
        delay = self._backoff.next()
        self._restart_at = time.monotonic() + delay
        return round(delay, 3)


def _ending(status: int) -> dict[str, Any]:
    if status >= 0:
        return {"exit_status": status}
    try:
        return {"signal": signal.Signals(-status).name}
    except ValueError:
        return {"signal": -status}
