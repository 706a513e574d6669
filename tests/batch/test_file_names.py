"""Name patterns: values of the job and its part in the names of files."""

from datetime import UTC, date, datetime
from typing import Any

import pytest
from seen import seen

from jobservice.batch import BatchError, UnknownName, expanded
from jobservice.sdk.steps import Range


def part() -> Any:
    context = seen(day=date(2026, 3, 9), text="2026-03-09", moment=datetime(2026, 3, 9, 7, 5, tzinfo=UTC), region="eu")
    return context.part(7, [Range()] * 10)


@pytest.mark.parametrize(
    ("pattern", "name"),
    [
        ("plain.csv", "plain.csv"),
        ("{region}/{day}.csv", "eu/2026-03-09.csv"),
        ("{day:%Y%m%d}-{part:05d}.csv", "20260309-00007.csv"),
        ("{text:%d.%m.%Y}", "09.03.2026"),
        ("{day,yyyyMMdd}-{n,5#}-{parts,3#}", "20260309-00007-010"),
        ("{moment,yyyy-MM-dd_HHmmss}{day,yy}", "2026-03-09_07050026"),
        ("{{day}}-{part}", "{day}-7"),
    ],
)
def test_values_stand_in_names_as_the_pattern_says(pattern: str, name: str) -> None:
    assert expanded(pattern, part()) == name


@pytest.mark.parametrize("name", ["daye", "_private", "run", "__class__"])
def test_an_unknown_name_fails_and_is_named(name: str) -> None:
    context = part()
    context.job._private, context.job.run = "secret", print

    with pytest.raises(UnknownName, match=name) as raised:
        expanded("a-{" + name + ":x}.csv", context)

    assert raised.value.name == name


@pytest.mark.parametrize("pattern", ["{day,5#}", "{region,yyyy}", "{part,yyyyMMdd}", "{day,x}", "{region:d}"])
def test_a_value_that_cannot_be_written_so_fails_with_the_pattern(pattern: str) -> None:
    with pytest.raises(BatchError, match=pattern[1:-1]):
        expanded(pattern, part())


def test_outside_of_a_job_the_values_are_given() -> None:
    assert expanded("{a}-{b,3#}", {"a": "x", "b": 7}) == "x-007"
    with pytest.raises(UnknownName, match="'c'"):
        expanded("{c}", {"a": 1})
