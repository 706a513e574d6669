"""The rule of the circuit breaker: when a job class whose runs fail is to be held."""

from collections import deque
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class BreakerRule:
    """More than `share` of the last `window` runs have failed."""

    window: int
    share: float

    def trips(self, *, runs: int, failures: int) -> bool:
        """Whether so many failures among so many runs are too many; never before there were `window` runs."""
        return runs >= self.window and failures > self.share * self.window


class RecentRuns:
    """How the last runs of one job class ended. Once they have tripped they are forgotten: it takes as many again."""

    def __init__(self, rule: BreakerRule) -> None:
        self._rule = rule
        self._failed: deque[bool] = deque()
        self._failures = 0

    def add(self, *, failed: bool) -> int | None:
        """One more has ended. How many of the last have failed where that is too many, else None."""
        self._failed.append(failed)
        self._failures += failed
        if len(self._failed) > self._rule.window:
            self._failures -= self._failed.popleft()
        if not self._rule.trips(runs=len(self._failed), failures=self._failures):
            return None
        failures = self._failures
        self._failed.clear()
        self._failures = 0
        return failures
