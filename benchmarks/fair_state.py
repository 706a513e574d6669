"""How a tenant and a daemon of the fairness model stand at a moment."""

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field

from benchmarks.fair_loads import Load
from jobservice.domain.fair_share import Party, QueuedJob

ENDLESS = [QueuedJob(n) for n in range(4096)]
"""A backlog that never ends: the first of it."""


@dataclass
class Tenant:
    load: Load
    live: int = 0
    claims: float = 0.0  # sum of the live rows' claim dates
    charged: float = 0.0
    active: bool = False
    endless: bool = False
    paused: bool = False
    version: int = 0
    dry_since: float | None = None
    queued: deque[float] = field(default_factory=deque)

    @property
    def waits(self) -> bool:
        return self.endless or bool(self.queued)

    def party(self, now: float, free: int, ended: Sequence[float] = ()) -> Party:
        """`ended` are the claim dates of live rows whose runs are known to have ended: they are charged already."""
        running = self.live * now - self.claims - sum(now - begun for begun in ended)
        return Party(
            tenant=self.load.name, weight=self.load.weight, live=self.live - len(ended), charged=self.charged,
            running=running, room=0 if self.paused else free, active=self.active, waits=self.waits,
            backlog=ENDLESS[:free] if self.endless else ENDLESS[: min(free, len(self.queued))],
        )  # fmt: skip


@dataclass
class Daemon:
    free: int
    asking: bool = False
    charges: dict[str, float] = field(default_factory=dict)
    unwritten: dict[str, list[float]] = field(default_factory=dict)  # claim dates of ended runs that count as live
