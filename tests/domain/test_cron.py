"""Fire dates of cron expressions and intervals, where clocks are put forward and back and where they are not."""

from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as some

from jobservice.domain.cron import EXPRESSION_MAX, NICKNAMES, BadTiming, Cron, Every, time_zone

ZONES = (
    "UTC",
    "Europe/Berlin",
    "America/New_York",
    "America/St_Johns",
    "Australia/Lord_Howe",  # half an hour
    "Asia/Kathmandu",
    "Africa/Cairo",  # put forward at midnight
    "Africa/Casablanca",  # back for Ramadan
    "Pacific/Chatham",
    "Pacific/Apia",
)
MINUTE = timedelta(minutes=1)


def fires(expression: str, zone: str, after: str, count: int = 3) -> list[str]:
    """The next fire dates after a reading of the zone's clock, as readings with their offset."""
    tz = ZoneInfo(zone)
    cron, date, found = Cron(expression, tz), datetime.fromisoformat(after).replace(tzinfo=tz), []
    for _ in range(count):
        following = cron.next_after(date)
        assert following is not None
        date = following
        found.append(date.astimezone(tz).strftime("%m-%d %H:%M%z"))
    return found


@pytest.mark.parametrize("expression", ["30 2 * * *", "0,30 2 * * *", "*/10 2 * * *", "0 30 2 * * *"])
def test_a_time_that_does_not_exist_fires_once_at_the_moment_after_the_gap(expression: str) -> None:
    first, second = fires(expression, "Europe/Berlin", "2026-03-28T12:00", 2)

    assert first == "03-29 03:00+0200"
    assert second.startswith("03-30 02:")


def test_a_time_in_the_gap_and_one_right_after_it_are_one_fire() -> None:
    assert fires("30 2,3 * * *", "Europe/Berlin", "2026-03-28T12:00") == [
        "03-29 03:00+0200",
        "03-29 03:30+0200",
        "03-30 02:30+0200",
    ]
    assert fires("0 2,3 * * *", "Europe/Berlin", "2026-03-28T12:00")[:2] == ["03-29 03:00+0200", "03-30 02:00+0200"]


def test_a_gap_at_midnight_moves_the_time_to_the_moment_after_it() -> None:
    assert fires("30 0 * * *", "Africa/Cairo", "2026-04-23T12:00", 2) == ["04-24 01:00+0300", "04-25 00:30+0300"]


@pytest.mark.parametrize("expression", ["30 2 * * *", "0 30 2 * * *"])
def test_a_time_that_exists_twice_fires_the_first_time(expression: str) -> None:
    assert fires(expression, "Europe/Berlin", "2026-10-24T12:00", 2) == ["10-25 02:30+0200", "10-26 02:30+0100"]


def test_who_looks_in_the_second_pass_of_an_hour_finds_its_times_fired() -> None:
    second_pass = datetime(2026, 10, 25, 1, 15, tzinfo=UTC)  # 02:15, for the second time

    assert Cron("30 2 * * *", ZoneInfo("Europe/Berlin")).next_after(second_pass) == datetime(
        2026, 10, 26, 1, 30, tzinfo=UTC
    )


def test_every_hour_means_both_passes_of_one_and_nothing_for_the_one_left_out() -> None:
    assert fires("30 * * * *", "Europe/Berlin", "2026-10-25T01:00", 4) == [
        "10-25 01:30+0200",
        "10-25 02:30+0200",
        "10-25 02:30+0100",
        "10-25 03:30+0100",
    ]
    assert fires("30 * * * *", "Europe/Berlin", "2026-03-29T01:00", 2) == ["03-29 01:30+0100", "03-29 03:30+0200"]


def test_half_an_hour_left_out_takes_no_tick_along() -> None:
    assert fires("15 * * * *", "Australia/Lord_Howe", "2026-10-04T01:00") == [
        "10-04 01:15+1030",
        "10-04 02:30+1100",
        "10-04 03:15+1100",
    ]
    assert fires("30 * * * *", "Australia/Lord_Howe", "2026-10-04T01:00", 2) == ["10-04 01:30+1030", "10-04 02:30+1100"]


def test_a_day_that_the_calendar_leaves_out_fires_at_the_next_midnight() -> None:
    assert fires("0 12 30 12 *", "Pacific/Apia", "2011-12-29T13:00", 1) == ["12-31 00:00+1400"]


# ------------------------------------------------------------------------------------------------- for all of them

zones = some.sampled_from(ZONES).map(ZoneInfo)
moments = some.datetimes(datetime(2012, 1, 1), datetime(2037, 1, 1)).map(lambda date: date.replace(tzinfo=UTC))  # noqa: DTZ001
some_minutes = some.sets(some.integers(0, 59), min_size=1, max_size=4)
some_hours = some.one_of(some.just(frozenset(range(24))), some.frozensets(some.integers(0, 23), min_size=1, max_size=5))
expressions = some.sampled_from(
    [
        "* * * * *",
        "0 0 * * *",
        "59 23 31 12 *",
        "30 2 * * 0",
        "*/7 * * * *",
        "15,45 1-3 * * *",
        "0 0 29 2 *",
        "@weekly",
        "30 2 L * *",
        "0 1 * * 1#2",
        "*/20 30 2 * * *",
        "0 */2 * * *",
        "0 0 1,15 * 1",
    ]
)


def written(numbers: frozenset[int] | set[int]) -> str:
    return "*" if len(numbers) == 24 else ",".join(map(str, sorted(numbers)))


def expected(
    minutes: set[int], hours: frozenset[int], zone: ZoneInfo, begin: datetime, end: datetime
) -> list[datetime]:
    """The rules as docs/schedules.md says them, minute by minute."""
    found = []
    moment = begin
    while moment <= end:
        clock, before = moment.astimezone(zone), (moment - MINUTE).astimezone(zone)
        put_forward = (clock.utcoffset() or MINUTE) - (before.utcoffset() or MINUTE)
        left_out = range(int(put_forward / MINUTE)) if put_forward > MINUTE else range(0)
        gap = [(clock - MINUTE * (n + 1)).replace(tzinfo=None) for n in left_out]
        in_gap = any(each.minute in minutes and each.hour in hours for each in gap)
        if len(hours) == 24:
            due = clock.minute in minutes or (in_gap and len(gap) % 60 != 0)
        else:
            due = (clock.minute in minutes and clock.hour in hours and not clock.fold) or in_gap
        if due:
            found.append(moment)
        moment += MINUTE
    return found


CHANGES = (
    ("Europe/Berlin", datetime(2026, 3, 29, 1, tzinfo=UTC)),
    ("Europe/Berlin", datetime(2026, 10, 25, 1, tzinfo=UTC)),
    ("Australia/Lord_Howe", datetime(2026, 4, 4, 15, tzinfo=UTC)),
    ("Australia/Lord_Howe", datetime(2026, 10, 3, 15, 30, tzinfo=UTC)),
    ("America/St_Johns", datetime(2026, 3, 8, 5, 30, tzinfo=UTC)),
    ("America/St_Johns", datetime(2026, 11, 1, 4, 30, tzinfo=UTC)),
    ("Africa/Cairo", datetime(2026, 4, 23, 22, tzinfo=UTC)),
    ("Africa/Casablanca", datetime(2026, 2, 15, 2, tzinfo=UTC)),
    ("Pacific/Chatham", datetime(2026, 9, 26, 14, tzinfo=UTC)),
)


@settings(deadline=None, max_examples=200)
@given(some.sampled_from(CHANGES), some_minutes, some_hours, some.integers(-300, 60))
@example(CHANGES[0], {30}, frozenset({2}), -60)
@example(CHANGES[1], {30}, frozenset({2}), 10)
def test_around_a_change_of_the_clock_it_fires_when_the_rules_say_and_at_no_other_minute(
    change: tuple[str, datetime], minutes: set[int], hours: frozenset[int], offset: int
) -> None:
    zone, begin = ZoneInfo(change[0]), change[1] + timedelta(minutes=offset)
    end = begin + timedelta(hours=12)
    cron = Cron(f"{written(minutes)} {written(hours)} * * *", zone)

    found, date = [], cron.next_after(begin)
    while date is not None and date <= end:
        found.append(date)
        date = cron.next_after(date)

    assert found == expected(minutes, hours, zone, begin + MINUTE, end)


@settings(deadline=None, max_examples=300)
@given(expressions, zones, moments)
def test_the_next_date_is_later_and_no_moment_in_between_has_an_earlier_one(
    expression: str, zone: ZoneInfo, moment: datetime
) -> None:
    cron = Cron(expression, zone)
    following = cron.next_after(moment)
    assert following is not None

    assert following > moment
    for part in (0.001, 0.3, 0.5, 0.999):
        between = moment + (following - moment) * part
        if between < following:
            assert cron.next_after(between) == following
    assert cron.next_from(following, following) == following


@settings(deadline=None, max_examples=20)
@given(zones, some.integers(0, 23), some.integers(0, 59), some.integers(2012, 2034))
def test_over_years_a_daily_time_fires_once_on_each_day(zone: ZoneInfo, hour: int, minute: int, year: int) -> None:
    cron = Cron(f"{minute} {hour} * * *", zone)
    begin = datetime(year, 1, 1, tzinfo=zone).astimezone(UTC) - timedelta(seconds=1)
    end = datetime(year + 2, 1, 1, tzinfo=zone).astimezone(UTC) - timedelta(seconds=1)

    days, date = [], cron.next_after(begin)
    while date is not None and date <= end:
        days.append(date.astimezone(zone).date())
        date = cron.next_after(date)

    assert len(days) == len(set(days)) == (datetime(year + 2, 1, 1, tzinfo=UTC) - datetime(year, 1, 1, tzinfo=UTC)).days


@given(some.integers(1, 100_000), moments, some.integers(0, 10**9))
def test_an_interval_keeps_its_beat_over_any_outage(seconds: int, known: datetime, later: int) -> None:
    moment = known + timedelta(seconds=later / 10)

    following = Every(seconds).next_from(known, moment)

    assert following is not None
    assert timedelta(0) <= following - moment < timedelta(seconds=seconds)
    assert (following - known) % timedelta(seconds=seconds) == timedelta(0)


# --------------------------------------------------------------------------------------------------- what is refused


@pytest.mark.parametrize("nickname", NICKNAMES)
def test_nicknames_are_understood(nickname: str) -> None:
    assert Cron(nickname.upper(), ZoneInfo("UTC")).next_after(datetime(2026, 1, 1, tzinfo=UTC)) is not None


@pytest.mark.parametrize(
    "expression",
    [
        *[
            "",
            "* * * *",
            "* * * * * * *",
            "60 * * * *",
            "0 0 30 2 *",
            "0 0 31 2,4 *",
            "@fortnightly",
            "@",
            "1-0 * * * *",
            "*/0 * * * *",
        ],
        *("a b c d e", "٣ * * * *", "0 0 * * 1#6", "0" * 9_999 + " * * * *", "5 * * * * " * 40),
    ],
)
def test_an_expression_that_means_nothing_is_refused(expression: str) -> None:
    with pytest.raises(BadTiming, match="cron"):
        Cron(expression, ZoneInfo("UTC"))


@given(some.text("0123456789*/,-#LW? @SUNMOJAe", max_size=EXPRESSION_MAX + 5))
@example("L/2 L/2 L/2 L/2 5L/2")
@example("0 0 L-1 * *")
def test_no_text_breaks_it(text: str) -> None:
    try:
        cron = Cron(text, ZoneInfo("UTC"))
    except BadTiming:
        return

    assert cron.next_after(datetime(2026, 1, 1, tzinfo=UTC)) is not None


@pytest.mark.parametrize("seconds", [0, -5, 10**9])
def test_an_interval_that_means_nothing_is_refused(seconds: int) -> None:
    with pytest.raises(BadTiming, match="every"):
        Every(seconds)


@pytest.mark.parametrize("name", ["", "Mars/Olympus", "../etc/passwd", "Europe", "\x00", "europe/berlin "])
def test_a_zone_that_is_none_is_refused(name: str) -> None:
    with pytest.raises(BadTiming, match="time_zone"):
        time_zone(name)
