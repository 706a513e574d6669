"""How a pipeline is drawn for people: in windows of any width, without colours, and as a picture."""

from datetime import UTC, datetime
from io import StringIO
from typing import Any
from uuid import UUID
from xml.etree import ElementTree

import pytest
from rich.console import Console

from jobservice.cli.pipeline_picture import as_svg
from jobservice.cli.pipeline_tree import PipelineTree
from jobservice.domain.pipelines import PipelineStatus
from jobservice.sdk.pipeline import PipelineInfo, StageInfo

PIPELINE_ID = UUID(int=7)
NOW = datetime(2026, 1, 31, 12, tzinfo=UTC)


def stage(position: int = 1, name: str = "process", **members: Any) -> StageInfo:
    told: dict[str, Any] = dict.fromkeys(("succeeded", "failed", "aborted", "retried", "percent_completed"), 0)
    told |= {"total": 4, "sequence": 3, "max_attempts": 3, "allowed_failures": 0.0, "on_failure": "finish_stage"}
    told |= {"hold": False, "open": False, "reason": None, "data": {}, "user_metadata": {}, "created_date": NOW}
    told |= {"stage_id": UUID(int=position), "pipeline_id": PIPELINE_ID, "position": position, "name": name}
    return StageInfo(**told | {"job_class": "Tile", "status": PipelineStatus.RUNNING} | members)


def pipeline(*stages: StageInfo, **members: Any) -> PipelineInfo:
    none = ("ending", "reason", "owner", "description", "correlation_id", "traceparent", "idempotency_key")
    told: dict[str, Any] = dict.fromkeys(none) | {"open": False, "paused": False, "data": {}, "user_metadata": {}}
    told |= {"pipeline_id": PIPELINE_ID, "tenant": "acme", "name": "create-map", "queue": "default", "priority": 100}
    told |= {"sequence": 3, "percent_completed": 0, "created_date": NOW, "updated_date": NOW, "stages": stages}
    return PipelineInfo(**told | {"status": PipelineStatus.RUNNING} | members)


def drawn(seen: PipelineInfo, width: int = 200) -> list[str]:
    console = Console(file=StringIO(), width=width)
    console.print(PipelineTree(seen))
    text = console.file.getvalue()  # type: ignore[attr-defined]
    return [line.rstrip() for line in text.splitlines()]


def test_a_stage_is_one_line_where_the_window_is_wide_and_its_bar_stands_below_those_above() -> None:
    seen = pipeline(stage(succeeded=2, running=2, percent_completed=50), stage(2, "up", status=PipelineStatus.QUEUED))

    lines = drawn(seen)

    assert lines[0] == f"create-map  RUNNING  0 %  {PIPELINE_ID}  tenant acme  priority 100"
    assert lines[1:] == [
        "├─ 1 process  ████████████░░░░░░░░░░░░  50 %  RUNNING  4 jobs, 2 running, 2 succeeded",
        "└─ 2 up       ░░░░░░░░░░░░░░░░░░░░░░░░   0 %  QUEUED  4 jobs",
    ]


@pytest.mark.parametrize("name", ["process", "a-name-of-a-stage-that-is-as-long-as-they-may-be-and-longer"])
def test_in_a_window_of_80_no_line_is_broken(name: str) -> None:
    busy = stage(1, name, total=10_000, running=20, queued=900, succeeded=9_000, failed=70, retried=210, aborted=10)

    lines = drawn(pipeline(busy), width=80)

    assert lines[:2] == ["create-map  RUNNING  0 %", f"  {PIPELINE_ID}  tenant acme  priority 100"]
    assert f"└─ 1 {name}  RUNNING  0 %" in lines
    assert all(line[:2] in ("cr", "  ", "└─") for line in lines)


def test_without_colours_a_bar_still_tells_failed_jobs_from_others() -> None:
    seen = pipeline(stage(succeeded=1, failed=1, aborted=1, percent_completed=25))

    assert "██████▒▒▒▒▒▒▒▒▒▒▒▒░░░░░░" in drawn(seen)[-1]


@pytest.mark.parametrize(
    ("seen", "said"),
    [
        (pipeline(status=PipelineStatus.PENDING), f"not started: `pipeline start {PIPELINE_ID}`"),
        (pipeline(paused=True), f"paused, nothing new starts: `pipeline resume {PIPELINE_ID}`"),
        (pipeline(open=True), f"open, it cannot finish before `pipeline seal {PIPELINE_ID}`"),
        (pipeline(stage(failed=1)), f"why: `pipeline jobs {PIPELINE_ID} --status failed`"),
        (pipeline(user_metadata={"note": "a\nb"}), 'metadata {"note": "a\\nb"}'),
        (pipeline(owner="ops", description="nightly"), "ops  nightly"),
    ],
)
def test_what_is_out_of_the_ordinary_is_said_with_what_to_do(seen: PipelineInfo, said: str) -> None:
    assert f"  {said}" in drawn(seen)


def test_an_ended_pipeline_is_neither_paused_nor_open() -> None:
    ended = pipeline(status=PipelineStatus.ABORTED, paused=True, open=True)

    assert len(drawn(ended)) == 1


def test_a_picture_of_many_stages_is_no_wider_than_a_screen_and_each_text_is_in_its_box() -> None:
    name = "a-name-of-a-stage-that-is-as-long-as-they-may-be-and-longer"
    stages = [stage(position, name if position == 3 else "process") for position in range(1, 13)]

    picture = ElementTree.fromstring(as_svg(pipeline(*stages)))

    boxes = [each.attrib for each in picture if each.attrib.get("rx") == "8"]
    texts = [each for each in picture if each.attrib.get("font-size") == "12"]
    assert (len(boxes), len(texts)) == (12, 36)
    assert int(picture.attrib["width"]) <= 1_240
    for n, text in enumerate(texts):
        left, width = int(boxes[n // 3]["x"]), int(boxes[n // 3]["width"])
        assert left < int(text.attrib["x"])
        assert int(text.attrib["x"]) + 8 * len(text.text or "") < left + width


def test_a_picture_shows_what_is_on_hold_and_how_much_has_failed() -> None:
    held, broken = stage(hold=True), stage(2, succeeded=1, failed=3)

    picture = ElementTree.fromstring(as_svg(pipeline(held, broken)))

    dashed = [each for each in picture if "stroke-dasharray" in each.attrib]
    (good, bad) = [each.attrib["width"] for each in picture if each.attrib.get("fill") in ("#2b8a3e", "#c92a2a")][2:]
    assert len(dashed) == 1
    assert int(bad) == pytest.approx(3 * int(good), abs=3)
