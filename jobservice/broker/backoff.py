"""How long to wait before the next attempt."""

import random
from dataclasses import dataclass


@dataclass(slots=True)
class Backoff:
    """Doubling delays with jitter, from `first` up to `longest` seconds; never below half of `first`."""

    first: float = 0.1
    longest: float = 5.0
    attempts: int = 0

    def next(self) -> float:
        """The delay before the attempt that follows."""
        delay = min(self.longest, self.first * 2.0 ** min(self.attempts, 30))
        self.attempts += 1
        # Jitter, so that many clients of one broker do not come back in step.
        return delay * random.uniform(0.5, 1.0)

    def reset(self) -> None:
        """After a success that lasted."""
        self.attempts = 0
