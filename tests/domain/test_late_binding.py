"""`{fire_date}` in the texts of a schedule's job."""

from datetime import datetime
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as some

from jobservice.domain.late_binding import BadBinding, bind, check

FIRE_DATE = datetime(2026, 10, 25, 2, 30, tzinfo=ZoneInfo("Europe/Berlin"))


def bound(document: Any) -> Any:
    return bind(document, fire_date=FIRE_DATE, schedule="nightly")


@pytest.mark.parametrize(
    ("text", "result"),
    [
        ("{fire_date}", "2026-10-25T02:30:00+02:00"),
        ("{fire_date:%Y-%m-%d}", "2026-10-25"),
        ("/data/{fire_date:%Y/%m}/{schedule}.csv", "/data/2026/10/nightly.csv"),
        ("{{print $1}} of {fire_date:%d.%m.}", "{print $1} of 25.10."),
        ("nothing to do", "nothing to do"),
    ],
)
def test_the_date_of_the_tick_is_put_in(text: str, result: str) -> None:
    assert bound(text) == result


def test_texts_are_bound_wherever_they_stand_and_nothing_else_is_touched() -> None:
    document = {"a": ["{schedule}", 1, None, {"{b}": "{fire_date:%Y}"}], "c": 2.5, "d": True}

    assert bound(document) == {"a": ["nightly", 1, None, {"{b}": "2026"}], "c": 2.5, "d": True}


@pytest.mark.parametrize(
    "text",
    [
        "{day}",
        "{}",
        "{0}",
        "{fire_date.year}",
        "{fire_date[0]}",
        "{fire_date!r}",
        "{schedule:>9}",
        "{",
        "}",
        "{fire_date",
        "{fire_date:}}",
        "{fire_date:YYYY}",
        "{fire_date:{schedule}}",
        "{fire_date:%Q%%}",
    ],
)
def test_what_stands_for_nothing_is_refused_and_the_place_named(text: str) -> None:
    with pytest.raises(BadBinding, match=r"paths\[1\]"):
        check({"paths": ["fine", text]})


@given(some.text(max_size=5), some.text("{}:!%Yfire_datschul[].0", max_size=30))
def test_no_text_breaks_it(before: str, text: str) -> None:
    try:
        check(text)
    except BadBinding:
        return

    assert isinstance(bound(before.replace("{", "{{").replace("}", "}}") + text), str)
