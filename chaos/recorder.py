"""Owns what a subscriber saw of the jobs."""

import time
from collections import Counter
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from chaos.listener import Listener


@dataclass(frozen=True, slots=True)
class Seen:
    """One event, as far as it is checked."""

    sequence: int
    status: str
    previous: str | None
    run: int
    attempt: int
    time: datetime
    daemon_id: str | None
    will_retry: bool
    error_type: str | None
    final: bool


class Recorder(Listener):
    """`lives` has each job's events in the order of their first arrival."""

    def __init__(self, *, url: str, prefix: str) -> None:
        super().__init__(url=url, exchange=f"{prefix}.events", queue=f"{prefix}.recorder")
        self.lives: dict[str, list[Seen]] = {}
        self.duplicates = 0
        self.overtaken: list[str] = []
        """Events that were not seen before, and came after one with a higher sequence of the same job."""
        self.by_status: Counter[str] = Counter()
        self.ended_at = time.monotonic()
        """When the last new end came."""
        self.longest_gap = (0.0, 0.0)
        """Seconds between two ends, and when the second came."""
        self._known: set[tuple[str, int]] = set()

    @property
    def events(self) -> int:
        """How many different ones came."""
        return len(self._known)

    def keep(self, data: dict[str, Any], time_told: datetime, *, delivered_again: bool = False) -> None:
        """One arrival."""
        job_id, sequence = data["job_id"], data["sequence"]
        if (job_id, sequence) in self._known:
            self.duplicates += 1
            return
        self._known.add((job_id, sequence))
        life = self.lives.setdefault(job_id, [])
        if life and sequence < life[-1].sequence:
            again = ", delivered again," if delivered_again else ""
            late = f"{sequence} {data['status']} by {data['daemon_id']}{again} came after {life[-1].sequence}"
            self.overtaken.append(f"{job_id}: {late}, {datetime.now(UTC):%H:%M:%S.%f}")
        error = data["error"] or {}
        life.append(
            Seen(
                sequence=sequence,
                status=data["status"],
                previous=data["previous_status"],
                run=data["run"],
                attempt=data["attempt"],
                time=time_told,
                daemon_id=data["daemon_id"],
                will_retry=data["will_retry"],
                error_type=error.get("type"),
                final=data["final"],
            )
        )
        self.by_status[data["status"]] += 1
        if data["final"]:
            now = time.monotonic()
            self.longest_gap = max(self.longest_gap, (now - self.ended_at, now))
            self.ended_at = now
