"""Which queued jobs the free slots of a queue go to: the rule that the function `claim` in schema.sql follows.

It is the specification. Tests hold the SQL against it, job by job, and the model in benchmarks/ runs on it. Pure: who
calls it counts, reads the clock and knows the limits. docs/fair-share.md has the reasons, the bounds and their proofs.
"""

import heapq
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

DEBT_SECONDS = 1.0
"""So many slot-seconds ahead of the last one count as one more slot in use."""
DEBT_MOST = 2.0
"""Slots that being ahead counts for at most: unbounded, tenants of long jobs would take all slots in turn."""


@dataclass(frozen=True, slots=True)
class QueuedJob:
    """A job that may be claimed. `number` is its place in the order of submission."""

    number: int
    priority: int = 0


@dataclass(frozen=True, slots=True)
class Party:
    """A tenant with queued or live jobs on one queue.

    `live` are the slots that it uses, `charged` the slot-seconds of its ended runs, `running` those of its live runs so
    far, `room` the slots that pauses, limits and rates still allow it. `active`: it took part in the last claim too.
    `waits`: it has something queued, even where that is nothing that this claim may take, as what is in `backlog` is.
    """

    tenant: str
    weight: float = 1.0
    live: int = 0
    charged: float = 0.0
    running: float = 0.0
    room: int = 1_000_000_000
    active: bool = True
    waits: bool = True
    backlog: Sequence[QueuedJob] = ()

    @property
    def spent(self) -> float:
        """Slot-seconds over weight."""
        return (self.charged + self.running) / self.weight

    @property
    def takes_part(self) -> bool:
        """Who may run nothing does not: it is not there until it may, and comes new then."""
        return self.room > 0


def start(parties: Iterable[Party]) -> float | None:
    """Where who comes new starts: at the least spent of those that were there. None where nobody was."""
    return min((party.spent for party in parties if party.active and party.takes_part), default=None)


def lift(parties: Sequence[Party]) -> list[Party]:
    """`parties` as they are charged after the claim: who comes new has spent no less than those that were there.

    So nobody saves credit by being absent, and nobody who comes is behind those who stayed.
    """
    floor = start(parties)
    return [
        replace(party, charged=max(party.charged, floor * party.weight - party.running))
        if floor is not None and party.takes_part and not party.active
        else party
        for party in parties
    ]


def share_out(parties: Sequence[Party], *, free: int) -> list[tuple[str, QueuedJob]]:
    """Who gets `free` slots, in the order in which they are given: tenants with the jobs that they run.

    Each slot goes to the party with the fewest slots over weight, where being ahead of the last one in slot-seconds
    counts as slots too; then to the least spent, then to who comes new, then by name. Slots that were given just now
    count, seconds that they will take do not.
    """
    floor = start(parties)
    spent = {
        party.tenant: party.spent if floor is None or party.active else max(party.spent, floor) for party in parties
    }
    lowest = min((spent[party.tenant] for party in parties if party.waits and party.takes_part), default=0.0)
    asking = []
    for party in parties:
        if offers := offered(party, free):
            own = spent[party.tenant]
            slots = party.live + min(DEBT_MOST, (own - lowest) * party.weight / DEBT_SECONDS)
            asking.append((slots / party.weight, own, party.active, party.tenant, 0, slots, party.weight, offers))
    heapq.heapify(asking)
    given: list[tuple[str, QueuedJob]] = []
    while asking and len(given) < free:
        _, own, active, tenant, nth, slots, weight, offers = asking[0]
        given.append((tenant, offers[nth]))
        nth += 1
        if nth < len(offers):
            heapq.heapreplace(asking, ((slots + nth) / weight, own, active, tenant, nth, slots, weight, offers))
        else:
            heapq.heappop(asking)
    return given


def offered(party: Party, free: int) -> list[QueuedJob]:
    """The first jobs of a party that could get a slot: higher priority first, then the order of submission."""
    wanted = max(0, min(party.room, free))
    return heapq.nsmallest(wanted, party.backlog, key=lambda job: (-job.priority, job.number))
