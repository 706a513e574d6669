"""When a flush of little is worth it: single reports leave at once, those in a stream of small flushes gather."""

import time
from collections.abc import Callable

from jobservice.throttle import Throttle

SHARE = 4
"""Small flushes that follow each other take one part in so many of the time: one costs nearly the same for 1 and for 20
runs, and what it costs is missing where the next jobs are claimed. No job starts later for it."""
ALLOWANCE = 0.010
"""Seconds that flushes may owe before one has to gather: single jobs never wait."""
LONGEST_GATHERING = 0.008
"""Seconds that one flush costs at most: it may itself have waited long, for a row."""
MANY = 32
"""Reports that make a flush worth it whatever is owed."""


class FlushThrottle:
    """Asked by the writer's loop before each flush; `holds` whenever another report comes."""

    def __init__(self, awaited: Callable[[], bool]) -> None:
        """`awaited`: whether somebody waits for ends to be committed: a limit, or a daemon with nothing else to do."""
        self._awaited = awaited
        self._throttle = Throttle(allowance=ALLOWANCE)
        self._waits = False
        self._hurry = False

    def hurry(self) -> None:
        """Somebody waits for one of the reports of the next flush."""
        self._hurry = True

    def wait(self, reports: int) -> float:
        """Seconds until so many reports are worth a flush; 0: now."""
        gathers = 0 < reports < MANY and not self._hurry and not self._awaited()
        wait = self._throttle.wait(time.monotonic()) if gathers else 0.0
        self._waits = wait > 0
        self._hurry = False
        return wait

    def holds(self, reports: int) -> bool:
        """Whether the loop waits already, and need not be woken for so many."""
        return self._waits and reports < MANY and not self._hurry and not self._awaited()

    def flushed(self, began: float) -> None:
        """A flush that began then, by the monotonic clock, has been written."""
        self._throttle.spend(began, min(LONGEST_GATHERING, SHARE * (time.monotonic() - began)))
