"""When the breaker trips: against the definition, over any sequence of ends."""

from hypothesis import given
from hypothesis import strategies as st

from jobservice.domain.breaker import BreakerRule, RecentRuns

rules = st.builds(BreakerRule, window=st.integers(1, 12), share=st.floats(0, 0.99))


@given(rule=rules, ends=st.lists(st.booleans(), max_size=80))
def test_it_trips_just_when_more_than_the_share_of_a_whole_window_failed_and_then_forgets(
    rule: BreakerRule, ends: list[bool]
) -> None:
    recent = RecentRuns(rule)
    since: list[bool] = []

    for failed in ends:
        since.append(failed)
        last = since[-rule.window :]
        too_many = len(last) == rule.window and sum(last) > rule.share * rule.window

        assert recent.add(failed=failed) == (sum(last) if too_many else None)
        if too_many:
            since = []


@given(rule=rules, count=st.integers(0, 100))
def test_runs_that_succeed_never_trip_it(rule: BreakerRule, count: int) -> None:
    recent = RecentRuns(rule)

    assert all(recent.add(failed=False) is None for _ in range(count))


@given(rule=rules)
def test_one_failure_is_enough_only_where_the_share_allows_none_of_a_window(rule: BreakerRule) -> None:
    recent = RecentRuns(rule)

    tripped = [recent.add(failed=n == rule.window - 1) for n in range(rule.window)]

    assert (tripped[-1] is not None) == (rule.share * rule.window < 1)


def test_with_the_default_share_half_is_not_too_many() -> None:
    recent = RecentRuns(BreakerRule(window=4, share=0.5))

    assert [recent.add(failed=failed) for failed in (True, False, True, False, True, True)] == [None] * 5 + [3]
