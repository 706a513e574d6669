"""What one look at a due schedule comes to: which ticks fire, which are missed, when it is looked at next."""

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as some

from jobservice.domain.cron import BadTiming, Every
from jobservice.domain.schedules import (
    BATCH,
    COUNTED,
    CatchUp,
    Missed,
    Overlap,
    Policy,
    first_date,
    look,
    newest_until,
    timing_of,
)

NOON = datetime(2026, 5, 1, 12, tzinfo=UTC)
HOURLY = timing_of(cron="0 * * * *", every=None, zone="Europe/Berlin")
HOUR, SECOND = timedelta(hours=1), timedelta(seconds=1)


@pytest.mark.parametrize("policy", [Policy(catch_up=catch_up) for catch_up in CatchUp])
@pytest.mark.parametrize("late", [timedelta(0), SECOND, timedelta(seconds=60)])
def test_a_tick_that_is_on_time_fires_whatever_the_policy(policy: Policy, late: timedelta) -> None:
    seen = look(HOURLY, NOON, NOON + late, policy, busy=False)

    assert (seen.fires, seen.next_date, seen.missed) == ((NOON,), NOON + HOUR, 0)


def test_after_an_outage_skip_fires_nothing_and_tells_all() -> None:
    seen = look(HOURLY, NOON, NOON + 4.5 * HOUR, Policy(CatchUp.SKIP), busy=False)

    assert (seen.fires, seen.next_date) == ((), NOON + 5 * HOUR)
    assert (seen.missed, seen.missed_date, seen.why) == (5, NOON + 4 * HOUR, Missed.LATE)


def test_after_an_outage_once_fires_the_newest_tick_for_all_of_them() -> None:
    seen = look(HOURLY, NOON, NOON + 4.5 * HOUR, Policy(CatchUp.ONCE), busy=False)

    assert (seen.fires, seen.next_date) == ((NOON + 4 * HOUR,), NOON + 5 * HOUR)
    assert (seen.missed, seen.missed_date, seen.why) == (4, NOON + 3 * HOUR, Missed.LATE)


def test_after_an_outage_all_fires_each_tick_in_its_order() -> None:
    seen = look(HOURLY, NOON, NOON + 4.5 * HOUR, Policy(CatchUp.ALL), busy=False)

    assert seen.fires == tuple(NOON + n * HOUR for n in range(5))
    assert (seen.next_date, seen.missed, seen.why) == (NOON + 5 * HOUR, 0, None)


def test_ticks_that_are_older_than_the_bound_are_missed_even_so() -> None:
    bounded = {catch_up: Policy(catch_up, within=2 * HOUR) for catch_up in (CatchUp.ALL, CatchUp.ONCE)}

    all_of_them = look(HOURLY, NOON, NOON + 4.5 * HOUR, bounded[CatchUp.ALL], busy=False)
    assert all_of_them.fires == (NOON + 3 * HOUR, NOON + 4 * HOUR)
    assert (all_of_them.missed, all_of_them.missed_date) == (3, NOON + 2 * HOUR)

    daily = timing_of(cron="0 12 * * *", every=None, zone="UTC")
    once = look(daily, NOON, NOON + 3 * HOUR, bounded[CatchUp.ONCE], busy=False)
    assert (once.fires, once.missed, once.missed_date) == ((), 1, NOON)


def test_more_ticks_than_one_look_fires_are_left_for_the_next_look() -> None:
    minutely = timing_of(cron="* * * * *", every=None, zone="UTC")

    seen = look(minutely, NOON, NOON + 3 * HOUR, Policy(CatchUp.ALL), busy=False)

    assert len(seen.fires) == BATCH
    assert seen.next_date == NOON + BATCH * timedelta(minutes=1)


def test_missed_ticks_of_a_long_outage_are_counted_up_to_a_bound_and_the_next_date_is_found_even_so() -> None:
    each_second = timing_of(cron="* * * * * *", every=None, zone="America/New_York")
    now = NOON + timedelta(days=400)

    seen = look(each_second, NOON, now, Policy(CatchUp.ONCE), busy=False)

    assert (seen.fires, seen.next_date, seen.missed) == ((now,), now + SECOND, COUNTED)
    assert seen.missed_date == now - SECOND


def test_while_its_last_job_has_not_ended_skip_misses_the_tick_and_the_others_fire_it() -> None:
    seen = {overlap: look(HOURLY, NOON, NOON, Policy(overlap=overlap), busy=True) for overlap in Overlap}

    assert (seen[Overlap.SKIP].fires, seen[Overlap.SKIP].missed_date) == ((), NOON)
    assert (seen[Overlap.SKIP].why, seen[Overlap.SKIP].next_date) == (Missed.OVERLAP, NOON + HOUR)
    assert seen[Overlap.ALLOW].fires == seen[Overlap.QUEUE].fires == (NOON,)


def test_with_skip_one_look_fires_one_tick_at_most_since_the_second_would_overlap_the_first() -> None:
    seen = look(HOURLY, NOON, NOON + 4.5 * HOUR, Policy(CatchUp.ALL, overlap=Overlap.SKIP), busy=False)

    assert (seen.fires, seen.missed, seen.why) == ((NOON,), 4, Missed.OVERLAP)


def test_an_interval_begins_one_interval_from_now_and_keeps_its_beat() -> None:
    every = timing_of(cron=None, every=600, zone="UTC")

    assert first_date(every, NOON) == NOON + 10 * timedelta(minutes=1)
    seen = look(every, NOON, NOON + timedelta(minutes=44), Policy(CatchUp.SKIP), busy=False)
    assert (seen.next_date, seen.missed) == (NOON + timedelta(minutes=50), 5)


@pytest.mark.parametrize(("cron", "every"), [(None, None), ("* * * * *", 60)])
def test_a_schedule_has_one_timing(cron: str | None, every: int | None) -> None:
    with pytest.raises(BadTiming, match="cron, every"):
        timing_of(cron=cron, every=every, zone="UTC")


policies = some.builds(
    Policy,
    catch_up=some.sampled_from(CatchUp),
    within=some.integers(0, 100_000).map(lambda seconds: timedelta(seconds=seconds)),
    overlap=some.sampled_from(Overlap),
)
timings = some.one_of(
    some.sampled_from(["*/7 * * * *", "30 2 * * *", "15 * * * *", "*/20 * * * * *"]).map(
        lambda cron: timing_of(cron=cron, every=None, zone="Australia/Lord_Howe")
    ),
    some.integers(1, 5_000).map(Every),
)


@settings(deadline=None)
@given(timings, policies, some.booleans(), some.integers(0, 100_000))
def test_over_any_outage_each_tick_fires_once_or_is_counted_as_missed(
    timing: Every, policy: Policy, busy: bool, outage: int
) -> None:
    due = timing.next_after(NOON - timedelta(days=30))
    assert due is not None
    now, fired, missed, date = due + timedelta(seconds=outage), [], 0, due
    ticks = [date]
    while (date := timing.next_after(date) or now) <= now and len(ticks) <= COUNTED // 2:
        ticks.append(date)
    now = min(now, ticks[-1])

    while due is not None and due <= now:
        seen = look(timing, due, now, policy, busy=busy)
        fired += seen.fires
        missed += seen.missed
        assert seen.next_date is None or seen.next_date > due
        due = seen.next_date

    assert sorted(set(fired)) == fired
    assert set(fired) <= set(ticks)
    assert len(fired) + missed == len(ticks)
    assert ticks[-1] == newest_until(timing, ticks[0], now)
