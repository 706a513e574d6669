"""A throttle: what comes now and then never waits, a stream comes in batches.

The generic cell rate algorithm (ITU-T I.371) as a meter of seconds: one number, the moment at which all that was spent
is earned again.
"""


class Throttle:
    """Lets go at once while no more than `allowance` seconds are owed, and says of the rest how long it has to wait."""

    def __init__(self, *, allowance: float) -> None:
        self._allowance = allowance
        self._earned_at = 0.0

    def wait(self, now: float) -> float:
        """Seconds until the next may go; 0: now."""
        return max(0.0, self._earned_at - now - self._allowance)

    def spend(self, now: float, seconds: float) -> None:
        """What one costs that goes now: as many seconds, of which one is earned in each second."""
        self._earned_at = max(self._earned_at, now) + seconds
