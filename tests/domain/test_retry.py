"""Whether another attempt follows, and when: over the pure functions."""

import math
from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jobservice import ExponentialBackoff, FixedBackoff, JobTimeout, Retry
from jobservice.domain.errors import DefinitionError
from jobservice.domain.retry import LONGEST_DELAY, Backoff, retry_delay

ANY = (Exception,)


def delay_after(
    error: BaseException,
    *,
    attempt: int = 1,
    max_attempts: int = 3,
    retry_on: tuple[type[BaseException], ...] = ANY,
    backoff: Backoff = FixedBackoff(7.0),  # noqa: B008 - frozen
) -> float | None:
    return retry_delay(error, attempt=attempt, max_attempts=max_attempts, retry_on=retry_on, backoff=backoff)


@given(attempt=st.integers(1, 1000), max_attempts=st.integers(1, 1000), asks=st.booleans())
def test_there_is_another_attempt_exactly_while_attempts_are_left(attempt: int, max_attempts: int, asks: bool) -> None:
    error = Retry(after=7) if asks else ValueError()

    assert delay_after(error, attempt=attempt, max_attempts=max_attempts) == (7.0 if attempt < max_attempts else None)


@pytest.mark.parametrize(
    ("error", "retry_on", "comes"),
    [
        (ValueError(), (ValueError,), True),
        (UnicodeDecodeError("utf-8", b"", 0, 1, ""), (ValueError,), True),
        (ValueError(), (OSError,), False),
        (ValueError(), (), False),
        (SystemExit(1), ANY, False),
        (JobTimeout(1.0), (TimeoutError,), True),
        (Retry(), (), True),
        (ExceptionGroup("", [OSError(), ExceptionGroup("", [ValueError()])]), (OSError, ValueError), True),
        (ExceptionGroup("", [OSError(), ValueError()]), (OSError,), False),
    ],
    ids=repr,
)
def test_only_errors_that_the_class_names_are_retried_and_what_asks_for_it_always(
    error: BaseException, retry_on: tuple[type[BaseException], ...], comes: bool
) -> None:
    assert (delay_after(error, retry_on=retry_on) is not None) == comes


@given(
    first=st.floats(0, 1e6), factor=st.floats(1, 100), longest=st.floats(0, 1e6), jitter=st.floats(0, 1),
    attempt=st.integers(1, 10_000),
)  # fmt: skip
def test_an_exponential_delay_never_exceeds_the_longest_and_jitter_only_shortens_it(
    first: float, factor: float, longest: float, jitter: float, attempt: int
) -> None:
    whole = ExponentialBackoff(first=first, factor=factor, longest=longest, jitter=0)(attempt, ValueError())

    delay = ExponentialBackoff(first=first, factor=factor, longest=longest, jitter=jitter)(attempt, ValueError())

    assert 0 <= whole <= longest
    assert whole * (1 - jitter) <= delay <= whole


def test_an_exponential_delay_without_jitter_doubles_up_to_the_longest() -> None:
    policy = ExponentialBackoff(first=2, longest=15, jitter=0)

    assert [policy(attempt, ValueError()) for attempt in (1, 2, 3, 4, 5, 5_000)] == [2, 4, 8, 15, 15, 15]


def test_a_function_of_the_authors_sees_the_attempt_and_the_error() -> None:
    seen = []

    def policy(attempt: int, error: BaseException) -> float:
        seen.append((attempt, error))
        return 3

    error, cause = ValueError(), OSError()
    asking = Retry()
    asking.__cause__ = cause

    assert delay_after(error, attempt=2, backoff=policy) == 3
    assert delay_after(asking, backoff=policy) == 3
    assert seen == [(2, error), (1, cause)]


@pytest.mark.parametrize("after", [30, 30.0, timedelta(seconds=30)])
def test_a_job_may_say_when_as_seconds_or_as_a_timedelta(after: float | timedelta) -> None:
    assert delay_after(Retry(after=after)) == 30.0


@pytest.mark.parametrize(("said", "taken"), [(-5, 0.0), (math.inf, LONGEST_DELAY), (1e12, LONGEST_DELAY)])
def test_a_delay_is_never_negative_and_never_longer_than_a_month(said: float, taken: float) -> None:
    assert delay_after(ValueError(), backoff=FixedBackoff(said)) == taken


@pytest.mark.parametrize("said", [None, "soon", math.nan, True])
def test_a_policy_that_gives_no_number_is_refused(said: object) -> None:
    with pytest.raises(DefinitionError, match="back-off"):
        delay_after(ValueError(), backoff=lambda attempt, error: said)  # type: ignore[arg-type, return-value]
