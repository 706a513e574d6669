"""The supervisor of several workers: starts them, keeps them running, answers for them, drains them.

It runs no job and holds no connection: what it needs to know of its workers, they tell. When it is gone, however it
went, each worker drains (`superior`).
"""

import asyncio
import contextlib
import os
import signal
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import structlog

from jobservice.deadlines import set_within
from jobservice.supervision.children import Children
from jobservice.supervision.health import combined
from jobservice.supervision.place import Place
from jobservice.supervision.worker import Worker
from jobservice.web.health import HealthServer

log = structlog.get_logger(__name__)


class Supervisor:
    """`run()` from the first worker's start to the last one's end."""

    def __init__(
        self,
        *,
        count: int,
        command: Sequence[str],
        hello: Mapping[str, Any],
        http_host: str,
        http_port: int,
        drain_timeout: float,
        leave_timeout: float,
    ) -> None:
        """`command` is the program of a worker, `hello` what it is told.

        Once told to drain, a worker may run its jobs for `drain_timeout` seconds, and then take `leave_timeout` to
        leave; after that it is killed.
        """
        self._count = count
        self._command = command
        self._hello = hello
        self._http_host = http_host
        self._drain_timeout = drain_timeout
        self._leave_timeout = leave_timeout
        self._children = Children()
        self._begun = asyncio.Event()
        """Some worker works: settings, job classes and schema are right."""
        self._draining = asyncio.Event()
        self._at_once = asyncio.Event()
        self._places = [Place(start=self._start, draining=self._draining, begun=self._begun) for _ in range(count)]
        self._health = HealthServer(http_host, http_port, live=self._live, ready=self._ready)
        self._url = ""
        self._started_at = time.monotonic()

    async def run(self) -> int:
        """The exit status: that of the workers where all are alike, else of the worst, 128 + n for signal n.

        Raises ConfigurationError where the address of the health port cannot be taken.
        """
        with self._children.waited_for(), self._signals():
            self._url = f"http://{self._http_host}:{await self._health.start()}"
            log.info("supervisor.start", pid=os.getpid(), processes=self._count, http_url=self._url)
            enforcing = asyncio.create_task(self._enforce_the_end())
            try:
                statuses = await asyncio.gather(*(self._keep(place) for place in self._places))
            finally:
                enforcing.cancel()
                await self._health.stop()
        status = max(status if status >= 0 else 128 - status for status in statuses)
        log.info("supervisor.leave", exit_status=status)
        return status

    async def _keep(self, place: Place) -> int:
        """The first begins alone: what is wrong for one is wrong for all, and is to be said once."""
        if place is not self._places[0]:
            await _first(self._begun, self._draining)
            if self._draining.is_set():
                return 0
        status = await place.keep()
        if not self._begun.is_set():
            self._draining.set()
        return status

    async def _start(self, started: Callable[[], None]) -> Worker:
        within = self._drain_timeout + self._leave_timeout
        hello = {**self._hello, "http_url": self._url, "leave_within": within}
        return await Worker.start(self._children, self._command, hello, started=started)

    # The end.

    @contextlib.contextmanager
    def _signals(self) -> Iterator[None]:
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._signalled, number)
        try:
            yield
        finally:
            for number in (signal.SIGTERM, signal.SIGINT):
                loop.remove_signal_handler(number)

    def _signalled(self, number: int) -> None:
        at_once = self._draining.is_set()
        log.info("supervisor.signal", signal=signal.Signals(number).name, at_once=at_once)
        self._draining.set()
        if at_once:
            self._at_once.set()
        for place in self._places:
            place.drain(at_once=at_once)

    async def _enforce_the_end(self) -> None:
        await self._draining.wait()
        await set_within(self._at_once, self._drain_timeout)
        await asyncio.sleep(self._leave_timeout)
        for worker in [place.worker for place in self._places]:
            if worker is not None:
                log.error("worker.kill", pid=worker.pid, reason="it was told to leave, and did not")
                worker.kill()

    # What health says.

    def _live(self) -> dict[str, Any]:
        return {"pid": os.getpid(), "uptime_seconds": round(time.monotonic() - self._started_at, 1)}

    async def _ready(self) -> tuple[bool, dict[str, Any]]:
        workers = await asyncio.gather(*(place.describe() for place in self._places))
        ready, facts = combined(
            workers,
            all_have_started=all(place.has_started or place.is_left for place in self._places),
            draining=self._draining.is_set(),
        )
        return ready, {**self._live(), **facts}


async def _first(*events: asyncio.Event) -> None:
    waits = [asyncio.create_task(event.wait()) for event in events]
    await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
    for wait in waits:
        wait.cancel()
