"""Whether a failed run is followed by another, and when: pure functions of the error, the attempts and the policy."""

import math
import random
from dataclasses import dataclass
from typing import Protocol

from jobservice.domain.errors import DefinitionError, Retry

LONGEST_DELAY = 30 * 86_400.0
"""Seconds; a policy that says more gets this."""


class Backoff(Protocol):
    """A policy: from the number of the attempt that failed (1, 2, …) and its error to the seconds until the next.

    A protocol and not a Callable, which type checkers would take for a method where a job class declares one.
    """

    def __call__(self, attempt: int, error: BaseException, /) -> float: ...


@dataclass(frozen=True, slots=True)
class FixedBackoff:
    """The same `seconds` each time."""

    seconds: float

    def __call__(self, attempt: int, error: BaseException) -> float:
        """Seconds until the next attempt."""
        return self.seconds


@dataclass(frozen=True, slots=True)
class ExponentialBackoff:
    """`first` · `factor` ** (attempt - 1) seconds, at most `longest`, less a random part of up to `jitter` of it.

    The jitter keeps jobs that failed together from coming back together (Marc Brooker, "Exponential Backoff and
    Jitter", AWS Architecture Blog, 2015); 0.5 is what it calls equal jitter, 1 full jitter, 0 none.
    """

    first: float = 1.0
    factor: float = 2.0
    longest: float = 3_600.0
    jitter: float = 0.5

    def __call__(self, attempt: int, error: BaseException) -> float:
        """Seconds until the next attempt."""
        try:
            whole = min(self.longest, self.first * self.factor ** (attempt - 1))
        except OverflowError:
            whole = self.longest
        return whole * (1 - self.jitter * random.random())


def retry_delay(
    error: BaseException,
    *,
    attempt: int,
    max_attempts: int,
    retry_on: tuple[type[BaseException], ...],
    backoff: Backoff,
) -> float | None:
    """Seconds until the next attempt, at least 0; None when there is none.

    `Retry` asks for one whatever `retry_on` says. Of a group of errors each one must be named by `retry_on`. Raises
    whatever the policy raises, and DefinitionError where it gives no number.
    """
    if attempt >= max_attempts:
        return None
    if isinstance(error, Retry):
        delay = error.after if error.after is not None else backoff(attempt, error.__cause__ or error)
    elif _matches(error, retry_on):
        delay = backoff(attempt, error)
    else:
        return None
    return _seconds(delay)


def _matches(error: BaseException, retry_on: tuple[type[BaseException], ...]) -> bool:
    if isinstance(error, BaseExceptionGroup) and not isinstance(error, retry_on):
        return error.split(retry_on)[1] is None
    return isinstance(error, retry_on)


def _seconds(delay: object) -> float:
    if isinstance(delay, bool) or not isinstance(delay, int | float) or math.isnan(delay):
        raise DefinitionError(f"the back-off gave {delay!r}, which is not a number of seconds")
    return min(max(0.0, float(delay)), LONGEST_DELAY)
