"""Rates as they are written and told."""

import pytest

from jobservice.domain.rates import Rate, parse


@pytest.mark.parametrize(
    ("written", "rate", "told"),
    [
        ("100/s", Rate(100, 1), "100 per s"),
        ("100/min", Rate(100, 60), "100 per min"),
        ("100/m", Rate(100, 60), "100 per min"),
        ("5/h", Rate(5, 3600), "5 per h"),
        ("1/d", Rate(1, 86_400), "1 per d"),
        ("10/30s", Rate(10, 30), "10 per 30 s"),
        ("10/90min", Rate(10, 5400), "10 per 90 min"),
    ],
)
def test_a_rate_is_read_and_told_in_the_largest_unit_that_fits(written: str, rate: Rate, told: str) -> None:
    assert parse(written) == rate
    assert str(rate) == told


def test_a_smaller_burst_is_told() -> None:
    assert str(parse("100/min", burst=5)) == "100 per min, 5 at once"
    assert str(parse("100/min", burst=100)) == "100 per min"


@pytest.mark.parametrize(
    "written", ["", "100", "0/s", "-1/s", "1.5/s", "100/", "100/w", "100 / s", "1/0s", "1/99999d", "1\u0662/s"]
)
def test_what_is_no_rate_is_refused_with_what_to_write(written: str) -> None:
    with pytest.raises(ValueError, match="write a rate such as 100/s"):
        parse(written)


def test_a_burst_is_one_or_more_and_above_the_rate_it_changes_nothing() -> None:
    assert parse("100/s", burst=101) == parse("100/s")
    with pytest.raises(ValueError, match="1 or more"):
        parse("100/s", burst=0)


def test_what_is_written_is_read_again() -> None:
    for written in ("100/s", "7/min", "5/h", "1/d", "10/30s", "10/90min"):
        assert parse(parse(written).written) == parse(written)
