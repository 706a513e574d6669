"""Progress goes forward, whatever a job tells."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jobservice.sdk.progress import MESSAGE_MAX, Progress

COUNTS = st.integers(min_value=-(10**30), max_value=10**30) | st.integers(min_value=-3, max_value=200)
TELLINGS = st.one_of(
    st.tuples(st.just("advance"), COUNTS),
    st.tuples(st.just("total"), COUNTS),
    st.tuples(st.just("set"), st.none() | COUNTS, st.none() | COUNTS),
)


@given(st.lists(TELLINGS, max_size=50))
def test_the_percentage_never_falls_and_stays_between_0_and_100(tellings: list[tuple[object, ...]]) -> None:
    progress = Progress()
    seen = [0]

    for verb, *counts in tellings:
        match verb:
            case "advance":
                progress.advance(*counts)  # type: ignore[arg-type]
            case "total":
                progress.update(total=counts[0])  # type: ignore[arg-type]
            case "set":
                progress.update(*counts)  # type: ignore[arg-type]
        seen.append(progress.percent)

    assert seen == sorted(seen)
    assert 0 <= seen[-1] <= 100
    assert 0 <= progress.done < 2**63
    assert 0 <= progress.total < 2**63


def test_done_out_of_total_is_the_percentage() -> None:
    progress = Progress()

    progress.update(total=3)
    progress.advance(2)

    assert progress.percent == 66


def test_more_ticks_than_announced_are_100_percent() -> None:
    progress = Progress()

    progress.update(total=2)
    progress.advance(5)

    assert progress.percent == 100


def test_a_larger_total_does_not_take_percents_back() -> None:
    progress = Progress()
    progress.update(done=5, total=10)

    progress.update(total=1000)

    assert progress.percent == 50


def test_what_was_taken_is_not_taken_again_until_something_changes() -> None:
    progress = Progress()
    progress.update(done=1, total=2, message="half")

    first, second = progress.take(), progress.take()
    progress.advance(1)
    third = progress.take()

    assert first is not None
    assert (first.done, first.total, first.message, first.percent) == (1, 2, "half", 50)
    assert second is None
    assert third is not None
    assert third.percent == 100


def test_a_message_can_be_stored_whatever_is_in_it() -> None:
    progress = Progress()

    progress.update(message="a\x00\udcff" + "x" * 10_000)

    assert progress.message is not None
    assert "\x00" not in progress.message
    assert len(progress.message.encode()) <= MESSAGE_MAX + 10


@pytest.mark.parametrize(
    ("done", "total", "expected"), [(0, 10, None), (3, 0, None), (5, 10, 20.0), (10, 10, 0.0), (15, 10, 0.0)]
)
def test_the_rest_is_expected_to_go_as_what_is_done(done: int, total: int, expected: float | None) -> None:
    progress = Progress()
    progress.update(done=done, total=total)

    assert progress.remaining_seconds(elapsed=20.0) == expected


def test_what_earlier_runs_have_done_is_no_measure_of_the_rest() -> None:
    progress = Progress()
    progress.goes_on_from(50)
    progress.goes_on_from(60)

    progress.update(done=50, total=100)
    at_first = progress.remaining_seconds(elapsed=20.0)
    progress.update(done=60)

    assert at_first is None
    assert progress.remaining_seconds(elapsed=20.0) == 80.0
