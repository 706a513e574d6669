"""How long the runs of this daemon have had slots: what claims are told, so that tenants are charged for it.

It owns the seconds that no claim has been told yet, and which runs have ended without their rows saying so. A run is
charged twice: when its slot comes free, and, for the time since then, when its end is committed, for rows count as
slots in use until then. It never counts slots, and writes nothing.
"""

import time
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from uuid import UUID

from jobservice.pool.run import Run


@dataclass(slots=True)
class Held:
    """One run, until when its time is charged (monotonic; at first its claim), and its key as (tenant, key)."""

    run: Run
    charged_until: float
    concurrency_key: tuple[str, str] | None
    written: bool = False
    result_size: int = 0
    """Characters of its result, from the run's end until that is committed."""


class SlotTime:
    """Slot-seconds by queue and tenant, and jobs whose runs have ended and are not written."""

    def __init__(self) -> None:
        self._charges: defaultdict[str, defaultdict[str, float]] = defaultdict(lambda: defaultdict(float))
        self._unwritten: defaultdict[str, set[UUID]] = defaultdict(set)

    def freed(self, held: Held) -> None:
        """The slot of the run is free."""
        self._charge(held)
        if not held.written:
            self._unwritten[held.run.claimed.card.queue].add(held.run.job_id)

    def written(self, held: Held) -> None:
        """The end of the run is committed."""
        self._charge(held)
        self.forget(held)

    def forget(self, held: Held) -> None:
        """The row says nothing of this run any more."""
        held.written = True
        self._unwritten[held.run.claimed.card.queue].discard(held.run.job_id)

    def unwritten(self, queue: str) -> list[UUID]:
        """Jobs of the queue whose runs have ended here and whose rows do not say so yet."""
        return list(self._unwritten[queue])

    def take_charges(self, queue: str) -> dict[str, float]:
        """Slot-seconds by tenant since the last take; `give_back` them if they could not be told."""
        return dict(self._charges.pop(queue, {}))

    def give_back(self, queue: str, charges: Mapping[str, float]) -> None:
        """The charges were not told: they count with the next."""
        for tenant, seconds in charges.items():
            self._charges[queue][tenant] += seconds

    def _charge(self, held: Held) -> None:
        now = time.monotonic()
        card = held.run.claimed.card
        self._charges[card.queue][card.tenant] += now - held.charged_until
        held.charged_until = now
