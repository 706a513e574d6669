"""Watches the room for workspaces: warns, names the tenant that takes most, and withholds job classes when it is full.

It looks and tells; what is withheld is left out by the scheduler. Running jobs go on, and so do those of other classes.
"""

import asyncio
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from enum import IntEnum
from functools import partial
from pathlib import Path

import structlog

from jobservice.pool.room import Room, bytes_below, room_at

log = structlog.get_logger(__name__)

INTERVAL = 5.0
SPARING = 20
"""After a walk through the workspaces it rests for so many times as long: a twentieth of a core at most."""

Occupied = Callable[[], Iterable[tuple[str, Path]]]
"""The workspaces that are in use, each with its tenant."""


class Level(IntEnum):
    """How full it is."""

    FINE = 0
    WARNED = 1
    FULL = 2


class WorkspaceWatch:
    """`run_once` belongs to a Loop. Percents and bytes of 0 are off."""

    def __init__(
        self,
        *,
        directory: Path,
        occupied: Occupied,
        needing: Sequence[str],
        warn_percent: float,
        pause_percent: float,
        tenant_max_bytes: int,
        resumed: Callable[[], None],
    ) -> None:
        """`needing` are the job classes that need a workspace; `resumed` is called when they may be claimed again."""
        self._directory = directory
        self._occupied = occupied
        self._needing = tuple(needing)
        self._warn = warn_percent
        self._pause = pause_percent
        self._tenant_max = tenant_max_bytes
        self._resumed = resumed
        self._level = Level.FINE
        self.withheld: tuple[str, ...] = self._needing if pause_percent else ()
        """What is not to be claimed now: classes, or `tenant/class`; until the first look all that need a workspace."""
        self.room: Room | None = None
        """What the last look found; None where it could not look."""
        self._blind = False
        self.tenants_over: tuple[str, ...] = ()
        """Tenants whose workspaces take more than they may, the largest first."""

    async def run_once(self) -> float | None:
        """One look, and a walk through the workspaces in use where it matters who takes how much."""
        self.room = await self._look()
        level = self._level_of(self.room)
        began = time.monotonic()
        taken = await self._taken() if level > Level.FINE or self._tenant_max else Counter[str]()
        self._tell(level, taken)
        self._tell_of_tenants(taken)
        self._withhold(level)
        return max(INTERVAL, SPARING * (time.monotonic() - began))

    @property
    def full(self) -> bool:
        """Whether the last look found no room."""
        return self._level is Level.FULL

    async def _look(self) -> Room | None:
        try:
            room = await asyncio.to_thread(room_at, self._directory)
        except OSError as error:
            if not self._blind:
                log.warning("workspace.look_failed", path=str(self._directory), reason=str(error))
            self._blind = True
            return None
        self._blind = False
        return room

    def _level_of(self, room: Room | None) -> Level:
        if room is None:
            return Level.FINE  # jobs that find no workspace say so themselves
        if self._pause and room.used_percent >= self._pause:
            return Level.FULL
        return Level.WARNED if self._warn and room.used_percent >= self._warn else Level.FINE

    async def _taken(self) -> Counter[str]:
        """Tenant → bytes, of the workspaces in use."""
        taken: Counter[str] = Counter()
        cancelled = threading.Event()
        try:
            for tenant, path in self._occupied():
                taken[tenant] += await asyncio.to_thread(partial(bytes_below, path, cancelled.is_set))
        finally:
            cancelled.set()
        return taken

    def _tell(self, level: Level, taken: Counter[str]) -> None:
        """Each change of the level, once."""
        before, self._level = self._level, level
        if level == before or self.room is None:
            return
        facts = {
            "path": str(self._directory),
            "used_percent": round(self.room.used_percent, 1),
            "free_bytes": self.room.free_bytes,
        }
        if level > Level.FINE:
            tenant, size = next(iter(taken.most_common(1)), (None, 0))
            facts |= {"largest_tenant": tenant, "largest_tenant_bytes": size}
        match level:
            case Level.FULL:
                log.error("workspace.pause", job_classes=list(self._needing), **facts)
            case Level.WARNED if before is Level.FINE:
                log.warning("workspace.warn", **facts)
            case Level.WARNED | Level.FINE:
                log.info("workspace.resume" if before is Level.FULL else "workspace.recover", **facts)

    def _tell_of_tenants(self, taken: Counter[str]) -> None:
        over = tuple(tenant for tenant, size in taken.most_common() if self._tenant_max and size > self._tenant_max)
        for tenant in over:
            if tenant not in self.tenants_over:
                log.warning("workspace.tenant_over", tenant=tenant, bytes=taken[tenant], limit_bytes=self._tenant_max)
        self.tenants_over = over

    def _withhold(self, level: Level) -> None:
        of_tenants = tuple(f"{tenant}/{name}" for tenant in self.tenants_over for name in self._needing)
        before, self.withheld = self.withheld, self._needing if level is Level.FULL else of_tenants
        if not set(before) <= set(self.withheld):
            self._resumed()
