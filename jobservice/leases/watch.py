"""Watches the other daemons' heartbeats and rescues the jobs of those that are not alive.

Lost is a daemon whose counter this one has *watched* stand still for a whole lease, by its own monotonic clock, over
looks that all succeeded and followed each other closely. A failed or late look starts the watch anew: silence of
PostgreSQL, or of this process, is nobody's death.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass
from uuid import UUID

import structlog

from jobservice.leases.full_look import FullLook
from jobservice.lifecycle.rescue import Rescuer
from jobservice.store.daemons import Daemons
from jobservice.store.session import Session

log = structlog.get_logger(__name__)


@dataclass(slots=True)
class _Seen:
    counter: int
    since: float


class Stillness:
    """Which counters have stood still for a lease. Pure: the caller brings the time."""

    def __init__(self, *, lease: float, longest_gap: float) -> None:
        self._lease = lease
        self._longest_gap = longest_gap
        self._seen: dict[UUID, _Seen] = {}
        self._looked_at: float | None = None

    def forget(self) -> None:
        """A look failed: the watch starts anew."""
        self._seen.clear()
        self._looked_at = None

    def look(self, counters: dict[UUID, int], now: float) -> list[tuple[UUID, int]]:
        """The daemons that are lost by this look, with the counter they stopped at."""
        if self._looked_at is not None and now - self._looked_at > self._longest_gap:
            self._seen.clear()
        self._looked_at = now
        self._seen = {
            daemon: seen
            if (seen := self._seen.get(daemon)) is not None and seen.counter == counter
            else _Seen(counter, now)
            for daemon, counter in counters.items()
        }
        return [(daemon, seen.counter) for daemon, seen in self._seen.items() if now - seen.since >= self._lease]


class Watch:
    """`run_once` belongs to a Loop whose interval is the heartbeat's."""

    def __init__(
        self,
        *,
        session: Session,
        daemons: Daemons,
        daemon_id: UUID,
        rescuer: Rescuer,
        stillness: Stillness,
        rescued: Callable[[], None],
    ) -> None:
        self._session = session
        self._daemons = daemons
        self._daemon_id = daemon_id
        self._rescuer = rescuer
        self._stillness = stillness
        self._rescued = rescued
        self._full_look = FullLook()

    async def run_once(self) -> float | None:
        """One look at all others, and the rescue of what it finds. Raises UnavailableError."""
        full = self._full_look.due
        try:
            async with self._session.use() as connection:
                others = await self._daemons.others(connection, self._daemon_id, full=full)
        except BaseException:
            self._stillness.forget()
            raise
        if full:
            self._full_look.done()
        orphans = others.orphans
        for daemon_id, counter in self._stillness.look(dict(others.counters), time.monotonic()):
            async with self._session.use() as connection:
                orphans = await self._rescuer.mark_lost_and_rescue(connection, daemon_id, counter) or orphans
        if orphans:
            async with self._session.use() as connection:
                more = await self._rescuer.rescue(connection)
            self._rescued()
            return 0 if more else None
        return None
