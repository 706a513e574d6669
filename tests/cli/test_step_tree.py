"""How `show` draws the steps of a job."""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

from rich.console import Console

from jobservice.cli.step_tree import StepTree
from jobservice.client.instances import InstanceInfo, StepInfo, StepRunInfo

BEGIN = datetime(2026, 11, 22, tzinfo=UTC)


def step(name: str, status: str, *, part: int | None = None, seconds: float | None = None, **fields: Any) -> StepInfo:
    nothing: dict[str, Any] = dict.fromkeys(
        ("job_id", "run", "low", "high", "position", "expected", "exit_description", "error_type", "error_message")
    )
    counts = dict.fromkeys(("read", "filtered", "written", "skipped", "commits", "rollbacks"), 0)
    stop = None if seconds is None else BEGIN + timedelta(seconds=seconds)
    given = {"step": name, "part": part, "status": status, "starts": 1, "start_date": BEGIN, "stop_date": stop}
    return StepInfo(**(nothing | counts | given | fields))


def run(name: str, number: int, status: str, *, part: int | None = None, **fields: Any) -> StepRunInfo:
    counts = dict.fromkeys(("read", "filtered", "written", "skipped", "commits", "rollbacks"))
    end = None if status == "STARTED" else BEGIN + timedelta(seconds=12.3)
    given = {"step": name, "part": part, "job_id": UUID(int=2), "run": number, "status": status, "start_date": BEGIN}
    given |= {"end_date": end, "daemon_id": UUID(int=0xD1 << 120), "error_type": None, "error_message": None}
    return StepRunInfo(**(given | counts | fields))


def drawn(*steps: StepInfo, runs: Sequence[StepRunInfo] = (), width: int = 160, every_run: bool = False) -> list[str]:
    instance = InstanceInfo(
        instance_id=UUID(int=1), tenant="t", job_class="C", generation=1, parameters={}, status="STARTED", context={},
        last_job=None, jobs=(UUID(int=2),), created_date=BEGIN, steps=steps, runs=tuple(runs),
    )  # fmt: skip
    console = Console(width=width, color_system=None)
    with console.capture() as captured:
        console.print(StepTree(instance, every_run))
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


def test_a_step_whose_last_run_was_stopped_is_not_told_as_one_that_runs() -> None:
    lines = drawn(
        step("one", "STARTED", seconds=3, read=5),
        step("one", "STARTED", part=0),
        step("one", "STARTED", part=1),
        runs=[run("one", 1, "ABORTED"), run("one", 1, "HANDED_BACK", part=0), run("one", 1, "ABORTED", part=1),
              run("one", 2, "STARTED", part=1)],
    )  # fmt: skip

    assert [line.split("░  ")[1].split()[0] for line in lines if "░  " in line] == ["HANDED_BACK", "STARTED"]
    assert lines[0].split()[3] == "ABORTED"


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


def test_what_ran_more_than_once_tells_its_runs_and_what_waited_for_its_parts_does_not() -> None:
    steps = (step("post", "STARTED"), step("post", "STARTED", part=3, read=9000), step("post", "SUCCEEDED", part=4))
    runs = [
        run("post", 1, "PARKED"),
        run("post", 2, "STARTED"),
        run("post", 1, "LOST", part=3, read=4000, written=4000, commits=8),
        run("post", 1, "SUCCEEDED", part=4, read=5),
        run("post", 2, "FAILED", part=3, read=1, error_type="OSError", error_message="not\ntoday"),
        run("post", 3, "STARTED", part=3),
    ]

    assert drawn(*steps, runs=runs)[1:] == [
        "     part 3       ▒▒▒▒▒▒▒▒▒▒▒▒▒▒▒▒▒▒▒▒▒▒▒▒  STARTED  9,000 read",
        "        run 1 LOST on daemon d1000000 after 12.3 s: 4,000 read, 4,000 written, 8 commits",
        "        run 2 FAILED on daemon d1000000 after 12.3 s: 1 read; OSError: not today",
        "        run 3 STARTED on daemon d1000000",
        "     part 4       ████████████████████████  SUCCEEDED",
    ]
    assert [line.split()[:3] for line in drawn(*steps, runs=runs, every_run=True)[1:3]] == [
        ["run", "1", "PARKED"],
        ["run", "2", "STARTED"],
    ]


def test_in_a_window_of_80_nothing_is_told_in_a_line_that_is_broken_by_the_terminal() -> None:
    counts = dict.fromkeys(("read", "filtered", "written", "skipped", "commits", "rollbacks"), 1_234_567)
    steps = (step("post", "STARTED"), step("post", "STARTED", part=3, position="x" * 20, **counts))
    runs = [run("post", n, "LOST", part=3, job_id=UUID(int=n), **counts) for n in range(1, 9)]

    lines = drawn(*steps, runs=runs, width=80)

    assert all(line.startswith("     ") and len(line) <= 80 for line in lines[1:])
    assert lines[2].strip().startswith("1,234,567 read, 1,234,567 filtered")
    assert "3 earlier runs: show --runs" in [line.strip() for line in lines]
    assert [line.split()[1] for line in lines if line.strip().startswith("run ")] == ["4", "5", "6", "7", "8"]


def test_of_many_parts_those_that_ran_more_than_once_are_shown() -> None:
    parts = [step("copy", "SUCCEEDED", part=n) for n in range(30)]
    runs = [run("copy", 1, "LOST", part=29), run("copy", 2, "SUCCEEDED", part=29)]

    lines = drawn(step("copy", "SUCCEEDED"), *parts, runs=runs)

    assert "part 29" in lines[-4]
    assert lines[-3].strip() == "run 1 LOST on daemon d1000000 after 12.3 s"
