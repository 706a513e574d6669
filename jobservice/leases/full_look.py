"""When a look goes through all that is live, and not only through what the claims' books say is live.

Under an old snapshot, that of a dump say, the index of live jobs keeps an entry of each job that ended meanwhile. The
books have no such: only claims make jobs live, and they write them. What came past them, by a hand in the tables, is
found by the full looks.
"""

import time

EVERY = 60.0
"""Seconds between full looks; the first look is one."""


class FullLook:
    """Whether it is time for one. A look that fails does not count: say `done` after it."""

    def __init__(self, *, every: float = EVERY) -> None:
        self._every = every
        self._next = 0.0

    @property
    def due(self) -> bool:
        """Whether the next look is to be a full one."""
        return time.monotonic() >= self._next

    def done(self) -> None:
        """There was one."""
        self._next = time.monotonic() + self._every
