"""How `show` draws the steps of a job."""

from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

from rich.console import Console

from jobservice.cli.step_tree import steps_of
from jobservice.client.instances import InstanceInfo, StepInfo

BEGIN = datetime(2026, 11, 22, tzinfo=UTC)


def step(name: str, status: str, *, part: int | None = None, seconds: float | None = None, **fields: Any) -> StepInfo:
    nothing: dict[str, Any] = dict.fromkeys(
        ("job_id", "run", "low", "high", "position", "expected", "exit_description", "error_type", "error_message")
    )
    counts = dict.fromkeys(("read", "filtered", "written", "skipped", "commits", "rollbacks"), 0)
    stop = None if seconds is None else BEGIN + timedelta(seconds=seconds)
    given = {"step": name, "part": part, "status": status, "starts": 1, "start_date": BEGIN, "stop_date": stop}
    return StepInfo(**(nothing | counts | given | fields))


def drawn(*steps: StepInfo) -> list[str]:
    instance = InstanceInfo(
        instance_id=UUID(int=1), tenant="t", job_class="C", generation=1, parameters={}, status="STARTED", context={},
        last_job=None, jobs=(UUID(int=2),), created_date=BEGIN, steps=steps, runs=(),
    )  # fmt: skip
    console = Console(width=160, color_system=None)
    with console.capture() as captured:
        console.print(steps_of(instance))
    return [line.rstrip() for line in captured.get().splitlines()[1:]]


def test_a_step_tells_its_counts_its_position_while_it_is_not_complete_its_duration_and_why_it_has_failed() -> None:
    lines = drawn(
        step("prepare", "SUCCEEDED", seconds=1.25, exit_description="12 tables"),
        step("post", "FAILED", seconds=3700, expected=1200, read=600, skipped=10,
             position="loan 600", error_type="OSError", error_message="not today"),
        step("notify", "PENDING"),
    )  # fmt: skip

    assert lines == [
        "├─ prepare      ████████████████████████  SUCCEEDED  1.2 s",
        "│     12 tables",
        '├─ post         ████████████░░░░░░░░░░░░  FAILED  600 read, 10 skipped, at "loan 600", 3,700.0 s',
        "│     OSError: not today",
        "└─ notify       ░░░░░░░░░░░░░░░░░░░░░░░░  PENDING",
    ]


def test_parts_stand_below_their_step_and_of_many_those_that_are_complete_are_left_out_first() -> None:
    parts = [
        step("copy", "STARTED" if n == 29 else "SUCCEEDED", part=n, expected=2, read=1, position=n) for n in range(30)
    ]

    lines = drawn(step("copy", "STARTED", expected=60, read=30), *parts)

    assert lines[0] == "└─ copy         ████████████░░░░░░░░░░░░  STARTED  30 read"
    assert lines[1] == "     part 0       ████████████████████████  SUCCEEDED  1 read"
    assert lines[20:] == [
        "     part 29      ████████████░░░░░░░░░░░░  STARTED  1 read, at 29",
        "     and 10 more parts",
    ]
