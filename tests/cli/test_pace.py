"""While somebody looks, the rate of the step at work and the time that it still takes are told."""

from datetime import UTC, datetime
from typing import Any
from uuid import UUID

import pytest

from jobservice.cli.pace import Pace
from jobservice.client.instances import InstanceInfo, StepInfo


class Clock:
    """Moved by hand."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def a_step(step: str, read: int, expected: int | None, *, part: int | None = None, status: str = "STARTED") -> StepInfo:
    none: Any = None
    return StepInfo(
        step=step, part=part, status=status, job_id=None, run=None, starts=1, low=none, high=none, position=none,
        expected=expected, read=read, filtered=0, written=read, skipped=0, commits=0, rollbacks=0,
        exit_description=None, error_type=None, error_message=None, start_date=None, stop_date=None,
    )  # fmt: skip


def an_instance(*steps: StepInfo) -> InstanceInfo:
    return InstanceInfo(
        instance_id=UUID(int=1), tenant="t", job_class="C", generation=1, parameters={}, status="STARTED", context={},
        last_job=None, jobs=(), created_date=datetime(2026, 1, 1, tzinfo=UTC), steps=steps, runs=(),
    )  # fmt: skip


@pytest.fixture
def clock() -> Clock:
    return Clock()


def test_the_rate_is_that_of_what_was_committed_between_two_looks(clock: Clock) -> None:
    pace = Pace(clock)
    done = a_step("users", 20, 20, status="SUCCEEDED")

    first = pace.told(an_instance(done, a_step("post", 1_000, 100_000)))
    clock.now = 2.0
    second = pace.told(an_instance(done, a_step("post", 3_000, 100_000)))

    assert first == "post: 1,000 of 100,000 items"
    assert second == "post: 3,000 of 100,000 items, 1,000 a second, about 1:37 to go"


def test_parts_are_told_together_and_those_that_wait_are_taken_to_be_as_large(clock: Clock) -> None:
    pace = Pace(clock)
    whole, waiting = a_step("post", 0, None), a_step("post", 0, None, part=2, status="PENDING")
    parts = [a_step("post", 100, 1_000, part=0), a_step("post", 200, 3_000, part=1, status="SUCCEEDED")]

    assert pace.told(an_instance(whole, *parts, waiting)) == "post: 300 of 6,000 items"


def test_what_came_before_the_last_half_minute_does_not_count(clock: Clock) -> None:
    pace = Pace(clock)

    for clock.now, read in ((0.0, 0), (100.0, 10), (129.0, 300)):
        told = pace.told(an_instance(a_step("post", read, 1_290)))

    assert told == "post: 300 of 1,290 items, 10 a second, about 1:39 to go"


def test_another_step_begins_anew_and_one_that_was_not_counted_tells_nothing(clock: Clock) -> None:
    pace = Pace(clock)
    pace.told(an_instance(a_step("read", 10, 1_000)))
    clock.now = 1.0

    uncounted = pace.told(an_instance(a_step("sum", 500, None)))
    clock.now = 2.0
    behind = pace.told(an_instance(a_step("post", 600, 10_000)))
    ended = pace.told(an_instance(a_step("post", 10_000, 10_000, status="SUCCEEDED")))

    assert (uncounted, behind, ended) == (None, "post: 600 of 10,000 items", None)
