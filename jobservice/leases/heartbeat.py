"""The heartbeat: a counter in the daemon's row, raised on a thread and a connection of its own.

A blocked event loop is thus seen as such and not as a death; blocked for too long, this thread ends the process.
"""

import asyncio
import os
import threading
import time
from collections.abc import Callable, Sequence
from uuid import UUID

import structlog

from jobservice.domain.errors import JobServiceError
from jobservice.store.daemons import Daemons
from jobservice.store.session import Session

log = structlog.get_logger(__name__)

EXIT_STUCK = 70


class Heartbeat:
    """Beats every `interval` seconds from `start` to `stop`; tells the event loop once when the daemon is lost."""

    def __init__(
        self,
        *,
        url: str,
        daemons: Daemons,
        daemon_id: UUID,
        interval: float,
        stuck_after: float,
        running: Callable[[], int],
        stuck: Callable[[], int],
        draining: Callable[[], bool],
        withheld: Callable[[], Sequence[str]],
        lost: Callable[[], None],
    ) -> None:
        self._url = url
        self._daemons = daemons
        self._daemon_id = daemon_id
        self._interval = interval
        self._stuck_after = stuck_after
        self._running = running
        self._stuck = stuck
        self._draining = draining
        self._withheld = withheld
        self._lost = lost
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="heartbeat", daemon=True)
        self._main: asyncio.AbstractEventLoop | None = None
        self._ticker: asyncio.TimerHandle | None = None
        self._loop_alive_at = time.monotonic()
        self.beat_at = time.monotonic()
        """`time.monotonic()` of the last heartbeat that the database has."""
        self.trouble: str | None = None
        """Why the last one did not reach it; None where it did."""

    @property
    def loop_lag_seconds(self) -> float:
        """How long ago the event loop last turned; 0 before it is watched."""
        return 0.0 if self._main is None else time.monotonic() - self._loop_alive_at

    def start(self) -> None:
        """From the event loop that is to be watched."""
        self._main = asyncio.get_running_loop()
        self._tick()
        self._thread.start()

    async def stop(self) -> None:
        """Ends the thread, if it was started; the row is left to the service."""
        self._stop.set()
        if self._ticker is not None:
            self._ticker.cancel()
        if self._main is not None:
            await asyncio.to_thread(self._thread.join, 5.0)

    def _tick(self) -> None:
        self._loop_alive_at = time.monotonic()
        if self._main is not None and not self._stop.is_set():
            self._ticker = self._main.call_later(min(1.0, self._interval), self._tick)

    def _run(self) -> None:
        with asyncio.Runner() as runner:
            session = Session(url=self._url, name="heartbeat", owner=self._daemon_id)
            try:
                while not self._stop.is_set():
                    if not runner.run(self._beat(session)):
                        return
                    self._end_if_stuck()
                    self._stop.wait(self._interval)
            finally:
                runner.run(session.close())

    async def _beat(self, session: Session) -> bool:
        """One heartbeat; False when this daemon has been marked lost."""
        try:
            async with asyncio.timeout(self._interval * 3), session.use() as connection:
                alive = await self._daemons.beat(
                    connection,
                    self._daemon_id,
                    running=self._running(),
                    stuck=self._stuck(),
                    draining=self._draining(),
                    withheld=self._withheld(),
                )
        except (JobServiceError, TimeoutError) as error:
            self.trouble = str(error) or "PostgreSQL does not answer a heartbeat"
            log.warning("heartbeat.miss", daemon_id=str(self._daemon_id), reason=self.trouble)
            return True
        self.trouble = None
        if alive:
            self.beat_at = time.monotonic()
            return True
        log.error("daemon.lost", daemon_id=str(self._daemon_id))
        if self._main is not None:
            self._main.call_soon_threadsafe(self._lost)
        return False

    def _end_if_stuck(self) -> None:
        if self._stuck_after and self.loop_lag_seconds > self._stuck_after:
            log.critical("daemon.stuck", daemon_id=str(self._daemon_id), seconds=round(self.loop_lag_seconds))
            os._exit(EXIT_STUCK)
