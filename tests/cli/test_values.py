"""Values of the command line: what is understood, and the words for what is not."""

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from jobservice.cli.exits import BadUsage
from jobservice.cli.values import duration, json_object, moment, named_values, priority


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("n=3", 3),
        ("n=true", True),
        ('n=["a", 1]', ["a", 1]),
        ("n=plain text", "plain text"),
        ("n=a=b", "a=b"),
        ("n=", ""),
        ("n=NaN", "NaN"),
        ("n=36893488147419103232", 36893488147419103232),
    ],
)
def test_a_parameter_is_json_where_it_parses_and_text_where_not(text: str, value: object) -> None:
    assert named_values([text], "-p") == {"n": value}


@pytest.mark.parametrize("pairs", [["name"], ["=value"], ["a=1", "a=2"]])
def test_a_parameter_without_name_or_given_twice_is_refused(pairs: list[str]) -> None:
    with pytest.raises(BadUsage, match="-p"):
        named_values(pairs, "-p")


@pytest.mark.parametrize(
    ("text", "seconds"), [("90", 90), ("90s", 90), ("15m", 900), ("1h30m", 5400), ("1.5d", 129600)]
)
def test_a_duration_is_seconds_or_a_number_with_a_unit(text: str, seconds: float) -> None:
    assert duration(text, "--timeout") == seconds


@pytest.mark.parametrize("text", ["", "-5", "5x", "m", "1e3", "5 m"])
def test_a_duration_that_is_none_is_refused_with_an_example(text: str) -> None:
    with pytest.raises(BadUsage, match="15m"):
        duration(text, "--timeout")


def test_a_date_has_its_zone_or_is_a_time_from_now() -> None:
    before = datetime.now(UTC)

    from_now = moment("15m", "--expires")

    assert moment("2026-01-31T12:00:00Z", "--expires") == datetime(2026, 1, 31, 12, tzinfo=UTC)
    assert timedelta(minutes=15) <= from_now - before < timedelta(minutes=16)


@pytest.mark.parametrize(
    ("text", "words"),
    [("2026-01-31T12:00:00", "no zone"), ("tomorrow", "write a date"), ("999999999d", "9999")],
)
def test_a_date_without_zone_or_sense_is_refused_with_the_reason(text: str, words: str) -> None:
    with pytest.raises(BadUsage, match=words):
        moment(text, "--expires")


@pytest.mark.parametrize(("text", "number"), [("5", 5), ("-7", -7), ("VERY_HIGH", 200), ("low", -100)])
def test_a_priority_is_a_number_or_a_name(text: str, number: int) -> None:
    assert priority(text) == number


@pytest.mark.parametrize("text", ["2147483648", "1.5", "HUGE", ""])
def test_a_priority_beyond_32_bits_or_without_meaning_is_refused(text: str) -> None:
    with pytest.raises(BadUsage, match="32 bits"):
        priority(text)


@pytest.mark.parametrize(
    ("content", "words"),
    [("[1]", "JSON object"), ("{", "not JSON"), ("[" * 100_000, "not JSON"), ('{"a": NaN}', "NaN")],
)
def test_a_parameter_file_that_is_no_json_object_is_refused(tmp_path: Path, content: str, words: str) -> None:
    file = tmp_path / "parameters.json"
    file.write_text(content)

    with pytest.raises(BadUsage, match=words):
        json_object(str(file))


def test_a_parameter_file_that_is_missing_is_named() -> None:
    with pytest.raises(BadUsage, match="/none/at/all"):
        json_object("/none/at/all")
