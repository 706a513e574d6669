"""When a group is worth handing over: who waited for the answers to the last one sends his next messages about now.

Clients that await each answer come in two halves that never meet: one half is stored while the other is on its way.
Waiting for those that were just answered brings them together, and what it costs to store 5 is what it costs to
store 10. It is given up for a while where they do not come.
"""

MANY = 32
"""Messages that are a group whatever else may come."""
PATIENCE = 0.005
"""Seconds after a group's end in which the next messages of those it answered are waited for."""
REST = 20
"""Groups for which nobody is waited for, after it was in vain."""


class Gathering:
    """Asked before each group; moments are seconds of one monotonic clock. A message that comes alone never waits."""

    def __init__(self, *, patience: float = PATIENCE) -> None:
        self._patience = patience
        self._expected = 0
        self._until = 0.0
        self._waits = False
        self._rest = 0

    def wait(self, there: int, now: float) -> float:
        """Seconds for which a group of what is there may still wait for more; 0: hand it over."""
        left = self._until - now
        if there >= self._expected or self._rest > 0:
            left = 0.0
        elif left <= 0 and self._waits:
            self._rest = REST + 1  # with this one
        self._waits = left > 0
        return max(0.0, left)

    def handed_over(self, messages: int, *, there: int, now: float) -> None:
        """A group of so many is done, and so many wait already."""
        self._expected = min(MANY, messages + there)
        self._until = now + self._patience
        self._rest = max(0, self._rest - 1)
