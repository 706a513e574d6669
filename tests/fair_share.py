"""The rule of the claim in a few lines of Python, to hold the SQL against: who is given which of the free slots."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Waiting:
    """A queued job. `number` is its place in the order of submission."""

    number: int
    priority: int
    job_class: str = "Nap"
    key: str | None = None


@dataclass(frozen=True)
class Party:
    """A tenant on one queue: slots in use, time charged, weight, limits, and what it waits for."""

    name: str
    weight: float = 1
    live: int = 0
    charged: float = 0
    paused: bool = False
    here_max: int | None = None
    over_all_max: int | None = None
    waiting: Sequence[Waiting] = field(default_factory=tuple)

    @property
    def room(self) -> int:
        limits = [limit for limit in (self.here_max, self.over_all_max) if limit is not None]
        return 0 if self.paused else max(0, min([10**6, *(limit - self.live for limit in limits)]))

    def offers(self, skipped: Sequence[str]) -> list[int]:
        """The numbers of the jobs that may run, in its own order; of each key only the first."""
        keys: set[str] = set()
        offered = []
        for job in sorted(self.waiting, key=lambda job: (-job.priority, job.number)):
            if job.job_class in skipped or job.key in keys:
                continue
            offered.append(job.number)
            if job.key is not None:
                keys.add(job.key)
        return offered[: self.room]


def chosen(parties: Iterable[Party], *, slots: int, queue_max: int | None, skipped: Sequence[str]) -> set[int]:
    """The numbers of the jobs that a claim takes: slot by slot, to who then has the fewest over its weight."""
    parties = list(parties)
    free = slots if queue_max is None else min(slots, queue_max - sum(party.live for party in parties))
    offers = {party.name: party.offers(skipped) for party in parties}
    used = {party.name: party.live for party in parties}
    taken: set[int] = set()
    while free > 0 and any(offers.values()):
        asking = [party for party in parties if offers[party.name]]
        best = min(asking, key=lambda p: (used[p.name] / p.weight, p.charged / p.weight, p.name))
        taken.add(offers[best.name].pop(0))
        used[best.name] += 1
        free -= 1
    return taken
