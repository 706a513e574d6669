"""Which queued jobs the free slots of a queue go to: the rule that the function `claim` in schema.sql follows.

It is the specification. Tests hold the SQL against it, job by job, and the model in benchmarks/ runs on it. Pure: who
calls it counts, reads the clock and knows the limits. docs/fair-share.md has the reasons, the bounds and their proofs.
"""

import heapq
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace


@dataclass(frozen=True, slots=True)
class QueuedJob:
    """A job that may be claimed. `number` is its place in the order of submission."""

    number: int
    priority: int = 0


@dataclass(frozen=True, slots=True)
class Party:
    """A tenant with queued or live jobs on one queue.

    `live` are the slots that it uses, `charged` the slot-seconds of its ended runs, `running` those of its live runs so
    far, `room` the slots that pauses and limits still allow it. `active`: it was a party at the last claim already.
    """

    tenant: str
    weight: float = 1.0
    live: int = 0
    charged: float = 0.0
    running: float = 0.0
    room: int = 1_000_000_000
    active: bool = True
    backlog: Sequence[QueuedJob] = ()

    @property
    def spent(self) -> float:
        """Slot-seconds over weight."""
        return (self.charged + self.running) / self.weight


def lift(parties: Sequence[Party]) -> list[Party]:
    """`parties` as they go into the choice: whoever comes new starts at the least spent of those that were there.

    So nobody saves credit by being absent, and nobody who comes is behind those who stayed.
    """
    floor = min((party.spent for party in parties if party.active), default=0.0)
    return [
        party if party.active else replace(party, charged=max(party.charged, floor * party.weight)) for party in parties
    ]


def share_out(parties: Iterable[Party], *, free: int) -> list[tuple[str, QueuedJob]]:
    """Who gets `free` slots, in the order in which they are given: tenants with the jobs that they run.

    Each slot goes to the party with the fewest slots over weight, then the least spent, then by name. Slots that were
    given just now count, seconds that they will take do not.
    """
    asking = [
        (party.live / party.weight, party.spent, party.tenant, 0, party, offers)
        for party in parties
        if (offers := offered(party, free))
    ]
    heapq.heapify(asking)
    given: list[tuple[str, QueuedJob]] = []
    while asking and len(given) < free:
        _, spent, tenant, nth, party, offers = asking[0]
        given.append((tenant, offers[nth]))
        if nth + 1 < len(offers):
            nth += 1
            heapq.heapreplace(asking, ((party.live + nth) / party.weight, spent, tenant, nth, party, offers))
        else:
            heapq.heappop(asking)
    return given


def offered(party: Party, free: int) -> list[QueuedJob]:
    """The first jobs of a party that could get a slot: higher priority first, then the order of submission."""
    wanted = max(0, min(party.room, free))
    return heapq.nsmallest(wanted, party.backlog, key=lambda job: (-job.priority, job.number))
