"""What a look comes to where ticks of a schedule of pipelines wait for each other: one at a time, the oldest first."""

from datetime import UTC, datetime, timedelta

import pytest

from jobservice.domain.schedules import (
    BATCH,
    WAITING_MAX,
    CatchUp,
    Missed,
    Overlap,
    Policy,
    Tick,
    Waiting,
    look,
    timing_of,
)

NOON = datetime(2026, 5, 1, 12, tzinfo=UTC)
HOUR = timedelta(hours=1)
HOURLY = timing_of(cron="0 * * * *", every=None, zone="UTC")
QUEUE = Policy(overlap=Overlap.QUEUE, one_by_one=True)


def waiting(*hours: int) -> Waiting:
    """Ticks so many hours from noon wait."""
    ticks = tuple(Tick.of(NOON + n * HOUR) for n in hours)
    return Waiting(ticks[:BATCH], len(ticks))


def test_a_tick_fires_where_nothing_lives_and_nothing_waits() -> None:
    seen = look(HOURLY, NOON, NOON, QUEUE, busy=False)

    assert (seen.ticks, seen.waits, seen.next_date, seen.missed) == ((Tick.of(NOON),), (), NOON + HOUR, 0)


def test_a_tick_waits_while_the_last_pipeline_lives() -> None:
    seen = look(HOURLY, NOON, NOON, QUEUE, busy=True)

    assert (seen.ticks, seen.waits, seen.next_date, seen.missed) == ((), (NOON,), NOON + HOUR, 0)


def test_the_oldest_tick_fires_when_the_last_pipeline_has_ended_though_no_date_has_come() -> None:
    seen = look(HOURLY, NOON + HOUR, NOON + HOUR / 2, QUEUE, busy=False, waiting=waiting(-1, 0))

    assert (seen.ticks, seen.resumes) == (waiting(-1).oldest, waiting(-1).oldest)
    assert (seen.waits, seen.next_date, seen.missed) == ((), NOON + HOUR, 0)


def test_a_tick_whose_date_comes_waits_behind_those_that_wait() -> None:
    seen = look(HOURLY, NOON, NOON, QUEUE, busy=False, waiting=waiting(-2, -1))

    assert (seen.ticks, seen.waits) == (waiting(-2).oldest, (NOON,))


def test_a_tick_whose_date_is_older_than_those_that_wait_fires_before_them() -> None:
    of_now = Waiting((Tick(NOON + HOUR / 4, "run:1"),), 1)

    seen = look(HOURLY, NOON, NOON + HOUR / 2, Policy(CatchUp.ALL, one_by_one=True), busy=False, waiting=of_now)

    assert (seen.ticks, seen.resumes, seen.waits) == ((Tick.of(NOON),), (), ())


def test_of_all_ticks_of_an_outage_the_oldest_fires_and_the_others_wait() -> None:
    policy = Policy(CatchUp.ALL, overlap=Overlap.QUEUE, one_by_one=True)

    seen = look(HOURLY, NOON, NOON + 2.5 * HOUR, policy, busy=False)

    assert (seen.ticks, seen.waits, seen.missed) == ((Tick.of(NOON),), (NOON + HOUR, NOON + 2 * HOUR), 0)


def test_what_finds_no_room_to_wait_is_missed_and_told() -> None:
    policy = Policy(CatchUp.ALL, overlap=Overlap.QUEUE, one_by_one=True)
    full = waiting(*range(-WAITING_MAX, -1))

    seen = look(HOURLY, NOON, NOON + 2.5 * HOUR, policy, busy=True, waiting=full)

    assert (len(full.oldest), seen.waits) == (BATCH, (NOON,))
    assert (seen.missed, seen.missed_date, seen.why) == (2, NOON + 2 * HOUR, Missed.OVERLAP)


def test_the_tick_that_fires_makes_room_for_one() -> None:
    seen = look(HOURLY, NOON, NOON, QUEUE, busy=False, waiting=waiting(*range(-WAITING_MAX, 0)))

    assert (seen.ticks, seen.waits, seen.missed) == (waiting(-WAITING_MAX).oldest, (NOON,), 0)


def test_a_schedule_that_is_never_due_again_fires_what_waits() -> None:
    seen = look(HOURLY, None, NOON, QUEUE, busy=False, waiting=waiting(-1))

    assert (seen.ticks, seen.next_date) == (waiting(-1).oldest, None)


@pytest.mark.parametrize("overlap", [Overlap.ALLOW, Overlap.QUEUE])
def test_ticks_of_a_schedule_that_was_changed_wait_no_more_and_the_next_date_comes_behind_them(
    overlap: Overlap,
) -> None:
    seen = look(HOURLY, NOON, NOON, Policy(overlap=overlap), busy=True, waiting=waiting(-2, -1))

    assert (seen.ticks, seen.waits, seen.next_date) == (waiting(-2, -1).oldest, (), NOON)


@pytest.mark.parametrize(("busy", "fires", "missed"), [(True, (), 3), (False, waiting(-3).oldest, 2)])
def test_ticks_of_a_schedule_that_skips_from_now_on_are_missed_as_its_ticks_are(
    busy: bool, fires: tuple[Tick, ...], missed: int
) -> None:
    seen = look(HOURLY, NOON, NOON, Policy(overlap=Overlap.SKIP), busy=busy, waiting=waiting(-3, -2, -1))

    assert (seen.ticks, len(seen.dropped), seen.missed) == (fires, missed, missed)
    assert (seen.missed_date, seen.why, seen.next_date) == (NOON - HOUR, Missed.OVERLAP, NOON)
