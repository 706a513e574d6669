"""Does to an installation what a plan says. Each fault ends by itself; the next comes when its time has come."""

import asyncio
import sys
import time
from collections import Counter
from collections.abc import Awaitable, Callable

import asyncpg
import pamqp.frame
from pamqp import commands

from chaos.fleet import Fleet, Place
from chaos.main_thread import MainThread
from chaos.network import Line
from chaos.plan import Fault, Kind
from jobservice.servers.stack import PrivateStack

SLOW_SECONDS = 0.15
Deed = Callable[[Fault, Place], Awaitable[None]]


class Faults:
    """`run` does them all; `done` counts them, `times` says when each began and ended, in seconds since the begin."""

    def __init__(self, *, fleet: Fleet, stack: PrivateStack, main: MainThread) -> None:
        self.done: Counter[Kind] = Counter()
        self.times: list[tuple[Fault, float, float]] = []
        self._fleet = fleet
        self._stack = stack
        self._main = main
        self._database = asyncio.Lock()
        self._broker = asyncio.Lock()
        self._began = time.monotonic()
        self._deeds: dict[Kind, Deed] = {
            Kind.KILL: self._kill,
            Kind.FREEZE: self._freeze,
            Kind.ROLL: self._roll,
            Kind.HURRY: self._hurry,
            Kind.DATABASE_RESTART: self._restart_database,
            Kind.DATABASE_AWAY: self._restart_database,
            Kind.DATABASE_TERMINATE: self._terminate_sessions,
            Kind.DATABASE_CUT: _while_it_lasts(Line.go_away, _database_of),
            Kind.DATABASE_SILENT: _while_it_lasts(Line.fall_silent, _database_of),
            Kind.DATABASE_SLOW: _while_it_lasts(_become_slow, _database_of),
            Kind.DATABASE_ANSWERS: _while_it_lasts(Line.lose_answers, _database_of),
            Kind.BROKER_KILL: self._kill_broker,
            Kind.BROKER_CLOSE: self._close_connections,
            Kind.BROKER_BLOCK: self._block_publishing,
            Kind.BROKER_CUT: _while_it_lasts(Line.go_away, _broker_of),
            Kind.BROKER_SILENT: _while_it_lasts(Line.fall_silent, _broker_of),
            Kind.BROKER_SLOW: _while_it_lasts(_become_slow, _broker_of),
        }

    @property
    def elapsed(self) -> float:
        """Seconds since the begin."""
        return time.monotonic() - self._began

    async def run(self, faults: list[Fault]) -> None:
        """All of them, side by side where they last; one daemon, or one server, suffers one at a time."""
        self._began = time.monotonic()
        async with asyncio.TaskGroup() as group:
            for fault in faults:
                await asyncio.sleep(max(0.0, fault.at - self.elapsed))
                group.create_task(self._do(fault))

    async def _do(self, fault: Fault) -> None:
        place = self._fleet.places[fault.place]
        suffers = _sufferer(fault.kind)
        lock = {"daemon": place.busy, "database": self._database, "broker": self._broker}[suffers]
        async with lock:
            began = self.elapsed
            print(f"{began:6.1f} s  {fault.kind.value}{_where(fault, suffers)}", file=sys.stderr)
            await self._deeds[fault.kind](fault, place)
            self.done[fault.kind] += 1
            self.times.append((fault, began, self.elapsed))

    # Daemons.

    async def _kill(self, fault: Fault, place: Place) -> None:
        await self._fleet.kill(place)
        await self._fleet.start_at(place)

    async def _freeze(self, fault: Fault, place: Place) -> None:
        await self._fleet.freeze(place, fault.seconds)

    async def _roll(self, fault: Fault, place: Place) -> None:
        await self._fleet.terminate(place)
        await self._fleet.start_at(place)

    async def _hurry(self, fault: Fault, place: Place) -> None:
        await self._fleet.terminate(place, times=2)
        await self._fleet.start_at(place)

    # Servers.

    async def _restart_database(self, fault: Fault, place: Place) -> None:
        await self._main.call(lambda: self._stack.stop_postgres(immediate=True))
        await asyncio.sleep(fault.seconds)
        await self._main.call(self._stack.start_postgres)

    async def _terminate_sessions(self, fault: Fault, place: Place) -> None:
        try:
            connection = await asyncpg.connect(self._stack.database_url)
            try:
                await connection.execute(
                    "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
                    " WHERE backend_type = 'client backend' AND pid <> pg_backend_pid()"
                )
            finally:
                connection.terminate()
        except (OSError, asyncpg.PostgresError):
            return

    async def _kill_broker(self, fault: Fault, place: Place) -> None:
        await self._main.call(self._stack.kill_rabbitmq)
        await asyncio.sleep(fault.seconds)
        await self._main.call(self._stack.start_rabbitmq)

    async def _close_connections(self, fault: Fault, place: Place) -> None:
        close = commands.Connection.Close(320, "CONNECTION_FORCED - closed by chaos", 0, 0)
        for each in self._fleet.places:
            each.broker.say(pamqp.frame.marshal(close, 0))
        await asyncio.sleep(0.2)  # the answer to it is not for the broker, which has closed nothing
        for each in self._fleet.places:
            each.broker.cut()

    async def _block_publishing(self, fault: Fault, place: Place) -> None:
        place.broker.say(pamqp.frame.marshal(commands.Connection.Blocked("low on chaos"), 0))
        await asyncio.sleep(fault.seconds)
        place.broker.say(pamqp.frame.marshal(commands.Connection.Unblocked(), 0))


def _while_it_lasts(harm: Callable[[Line], None], line_of: Callable[[Place], Line]) -> Deed:
    """Harms one line of a daemon for the seconds of the fault."""

    async def deed(fault: Fault, place: Place) -> None:
        harm(line_of(place))
        await asyncio.sleep(fault.seconds)
        line_of(place).mend()

    return deed


def _become_slow(line: Line) -> None:
    line.become_slow(SLOW_SECONDS)


def _database_of(place: Place) -> Line:
    return place.database


def _broker_of(place: Place) -> Line:
    return place.broker


def _where(fault: Fault, suffers: str) -> str:
    place = f", daemon {fault.place}" if suffers == "daemon" else ""
    return f"{place}, {fault.seconds:.1f} s" if fault.seconds else place


def _sufferer(kind: Kind) -> str:
    if kind in (Kind.DATABASE_RESTART, Kind.DATABASE_AWAY, Kind.DATABASE_TERMINATE):
        return "database"
    if kind in (Kind.BROKER_KILL, Kind.BROKER_CLOSE):
        return "broker"
    return "daemon"
