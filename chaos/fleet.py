"""Owns the daemons of a run: processes, each between two lines of its own, started, signalled, and accounted for."""

import asyncio
import secrets
import signal
import sys
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from chaos.main_thread import MainThread
from chaos.network import Line
from jobservice.servers.account import Account
from jobservice.servers.child import Child

ROOT = Path(__file__).parents[1]
_MARK = "CHAOS_RUN"
_LOOK = 0.02
_ENDED_WITHIN = 90.0


@dataclass
class Place:
    """Where one daemon runs after the other, behind the same two lines."""

    number: int
    database: Line
    broker: Line
    daemon: Child | None = None
    busy: asyncio.Lock = field(default_factory=asyncio.Lock)
    """Held by the fault that is done to this place."""

    @property
    def lines(self) -> tuple[Line, Line]:
        """Both."""
        return self.database, self.broker


class Fleet:
    """`start` and `stop` places; what went wrong with processes is in `problems`."""

    def __init__(
        self,
        *,
        main: MainThread,
        count: int,
        database_url: str,
        amqp_url: str,
        environment: Mapping[str, str],
        directory: Path,
    ) -> None:
        self.places = [Place(number, Line(database_url), Line(amqp_url)) for number in range(count)]
        self.problems: list[str] = []
        self.logs: list[Path] = []
        self._main = main
        self._mark = secrets.token_hex(8)
        self._environment = {**environment, _MARK: self._mark}
        self._directory = directory

    async def start(self) -> None:
        """Open the lines and start a daemon at each place."""
        for place in self.places:
            for line in place.lines:
                await line.open()
            await self.start_at(place)

    async def start_at(self, place: Place) -> None:
        """A new daemon."""
        log = self._directory / f"daemon-{place.number}-{len(self.logs)}.log"
        self.logs.append(log)
        environment = {
            **self._environment,
            "JOBSERVICE_DATABASE_URL": place.database.url,
            "JOBSERVICE_AMQP_URL": place.broker.url,
        }
        child = Child(log=log, stop_signal=signal.SIGTERM)
        command = [sys.executable, "-m", "jobservice", "daemon"]

        def begin() -> None:
            child.start(command, env=environment, directory=ROOT, account=Account(None, None))

        await self._main.call(begin)
        place.daemon = child

    async def kill(self, place: Place) -> None:
        """End the daemon without a word; its own children are left to themselves."""
        assert place.daemon is not None
        self._expect_alive(place)
        place.daemon.ask_to_stop(signal.SIGKILL)
        await self._ended(place)

    async def terminate(self, place: Place, *, times: int = 1) -> None:
        """End the daemon in good order."""
        assert place.daemon is not None
        self._expect_alive(place)
        for _ in range(times):
            place.daemon.ask_to_stop(signal.SIGTERM)
            await asyncio.sleep(0.3)
        status = await self._ended(place)
        # Before its first line it has not begun yet, and with a second signal it may have ended already: the signal
        # then ends the process as any other program.
        expected = {0, -signal.SIGTERM} if times > 1 or not place.daemon.log_tail() else {0}
        if status not in expected:
            self.problems.append(f"a daemon that was terminated ended with status {status}: {place.daemon.log_tail()}")

    async def freeze(self, place: Place, seconds: float) -> None:
        """Stop the daemon as a debugger would, and let it go on."""
        assert place.daemon is not None
        self._expect_alive(place)
        place.daemon.ask_to_stop(signal.SIGSTOP)
        await asyncio.sleep(seconds)
        place.daemon.ask_to_stop(signal.SIGCONT)

    async def leave(self) -> None:
        """All daemons end in good order, at once."""
        await asyncio.gather(*(self.terminate(place) for place in self.places))

    async def close(self) -> None:
        """Leave nothing, whatever has happened."""
        for place in self.places:
            if place.daemon is not None:
                place.daemon.ask_to_stop(signal.SIGCONT)
                place.daemon.kill()
            for line in place.lines:
                await line.close()

    def left_processes(self) -> list[int]:
        """Daemons, and what they have started: all inherit the mark. Ids of processes, and of sessions, come again."""
        return [pid for pid, mark in _marks() if mark == self._mark]

    def _expect_alive(self, place: Place) -> None:
        if place.daemon is not None and not place.daemon.running:
            self.problems.append(f"a daemon ended by itself: {place.daemon.log_tail()}")

    async def _ended(self, place: Place) -> int | None:
        assert place.daemon is not None
        deadline = time.monotonic() + _ENDED_WITHIN
        while place.daemon.running:
            if time.monotonic() > deadline:
                self.problems.append(f"a daemon did not end within {_ENDED_WITHIN:.0f} s: {place.daemon.log_tail()}")
                place.daemon.kill()
            await asyncio.sleep(_LOOK)
        return place.daemon.wait(0.0)


def _marks() -> Iterator[tuple[int, str | None]]:
    import psutil  # a tool of development: not needed by the service

    for process in psutil.process_iter():
        try:
            yield process.pid, process.environ().get(_MARK)
        except psutil.Error:
            continue  # just gone, or another user's
