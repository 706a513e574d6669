"""A throttle lets through what comes now and then, and holds a stream to what it earns."""

from hypothesis import given
from hypothesis import strategies as st

from jobservice.throttle import Throttle

COST, ALLOWANCE = 0.004, 0.010


def test_what_comes_seldom_never_waits() -> None:
    throttle = Throttle(allowance=ALLOWANCE)

    for now in (1.0, 1.0 + COST, 7.0, 7.5):
        assert throttle.wait(now) == 0
        throttle.spend(now, COST)


def test_a_stream_is_let_through_until_the_allowance_is_owed_and_then_as_fast_as_it_is_earned() -> None:
    throttle, now, went = Throttle(allowance=ALLOWANCE), 5.0, []

    for _ in range(8):
        now += throttle.wait(now)
        went.append(round(now - 5.0, 6))
        throttle.spend(now, COST)

    assert went == [0, 0, 0, 0.002, 0.006, 0.010, 0.014, 0.018]


@given(st.lists(st.tuples(st.floats(0, 0.02), st.floats(0, 0.02)), max_size=60))
def test_in_any_time_no_more_is_spent_than_is_earned_in_it_but_for_the_allowance_and_the_last(
    comings: list[tuple[float, float]],
) -> None:
    throttle, now, spent = Throttle(allowance=ALLOWANCE), 100.0, []
    for pause, cost in comings:
        now += pause
        now += throttle.wait(now)
        spent.append((now, cost))
        throttle.spend(now, cost)

    for first, (begin, _) in enumerate(spent):
        total = 0.0
        for end, cost in spent[first:]:
            assert total <= end - begin + ALLOWANCE + 1e-9
            total += cost
