"""What a submitter writes, and how it becomes a submission."""

import json
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from pydantic import BaseModel

from jobservice import AbstractJob, JobInfo, JobStatus
from jobservice.domain.errors import InvalidSubmission


class Resize(AbstractJob):
    name = "ResizeImage"
    queue = "images"

    async def run(self, image: Path, width: int = 100) -> None: ...


@dataclass
class Point:
    x: float


class Box(BaseModel):
    corner: Path
    size: float = 1


def nested(depth: int) -> dict[str, Any]:
    value: dict[str, Any] = {}
    for _ in range(depth - 1):
        value = {"in": value}
    return value


def test_what_was_not_set_is_not_sent() -> None:
    assert JobInfo("Work").to_submission() == {"job_class": "Work"}


def test_a_class_lends_its_name_and_its_queue() -> None:
    info = JobInfo(Resize, parameters={"image": "a.png"})

    assert (info.job_class, info.queue) == ("ResizeImage", "images")
    assert JobInfo(Resize, queue="other").queue == "other"


def test_all_that_a_submitter_sets_is_sent() -> None:
    due = datetime(2031, 1, 2, 3, 4, 5, 6, UTC)
    info = JobInfo(
        "Work",
        tenant="acme",
        queue="q",
        parameters={"path": Path("/data"), "at": due, "point": Point(1.5), "box": Box(corner=Path("c"))},
        priority="VERY_HIGH",
        expiration_date=due,
        timeout=2.5,
        max_attempts=3,
        user_metadata={"parent": [1, None]},
        locked=True,
        status=JobStatus.PENDING,
    )

    sent = json.loads(json.dumps(info.to_submission()))

    assert sent == {
        "job_class": "Work",
        "tenant": "acme",
        "queue": "q",
        "parameters": {
            "path": "/data",
            "at": "2031-01-02T03:04:05.000006Z",
            "point": {"x": 1.5},
            "box": {"corner": "c", "size": 1.0},
        },
        "priority": 200,
        "expiration_date": "2031-01-02T03:04:05.000006+00:00",
        "timeout": 2.5,
        "max_attempts": 3,
        "user_metadata": {"parent": [1, None]},
        "locked": True,
        "status": "PENDING",
    }


def test_integers_of_any_size_keep_their_digits() -> None:
    sent = JobInfo("Work", parameters={"n": 2**200, "m": -(10**30)}).to_submission()

    assert json.loads(json.dumps(sent))["parameters"] == {"n": 2**200, "m": -(10**30)}


@pytest.mark.parametrize(
    ("given", "field"),
    [
        ({"parameters": {"a": [1, float("nan")]}}, "parameters.a[1]"),
        ({"parameters": {"a": Point(float("inf"))}}, "parameters.a.x"),
        ({"parameters": {"a": Box(corner=Path(), size=float("nan"))}}, "parameters.a.size"),
        ({"parameters": {"a": "x\x00"}}, "parameters.a"),
        ({"parameters": {"a\x00": 1}}, "parameters"),
        ({"parameters": {"a": "\ud800"}}, "parameters.a"),
        ({"parameters": {"a": Path("\udcff")}}, "parameters.a"),
        ({"parameters": {"a": object()}}, "parameters.a"),
        ({"parameters": [1]}, "parameters"),
        ({"user_metadata": {"a": b"\xff"}}, "user_metadata.a"),
        ({"description": "a\x00b"}, "description"),
        ({"timeout": float("inf")}, "timeout"),
        ({"expiration_date": datetime(2031, 1, 1)}, "expiration_date"),  # noqa: DTZ001
        ({"trigger_after_date": datetime(2031, 1, 1)}, "trigger_after_date"),  # noqa: DTZ001
        ({"status": JobStatus.RUNNING}, "status"),
        ({"priority": "URGENT"}, "priority"),
    ],
)
def test_what_cannot_be_carried_is_refused_with_its_field(given: dict[str, Any], field: str) -> None:
    with pytest.raises(InvalidSubmission) as refused:
        JobInfo("Work", **given).to_submission()

    assert refused.value.field == field


def test_parameters_may_be_64_deep_and_no_deeper() -> None:
    assert JobInfo("Work", parameters=nested(64)).to_submission()["parameters"] == nested(64)

    with pytest.raises(InvalidSubmission, match="too deep"):
        JobInfo("Work", parameters=nested(65)).to_submission()


def test_parameters_that_hold_themselves_are_refused() -> None:
    endless: dict[str, Any] = {}
    endless["self"] = endless

    with pytest.raises(InvalidSubmission, match="too deep"):
        JobInfo("Work", parameters=endless).to_submission()


@pytest.mark.parametrize(
    ("parameters", "text"),
    [
        ({}, "'image' is missing"),
        ({"image": "a", "width": "wide"}, "'width'"),
        ({"image": "a", "height": 1}, "'height'"),
    ],
)
def test_parameters_are_checked_where_the_class_is_known(parameters: dict[str, Any], text: str) -> None:
    held = replace(JobInfo(Resize, parameters=parameters), status=JobStatus.PENDING)

    with pytest.raises(InvalidSubmission, match=text):
        held.to_submission()


@pytest.mark.parametrize("wrong", [int, 3, None])
def test_a_job_class_is_a_name_or_a_job_class(wrong: Any) -> None:
    with pytest.raises(InvalidSubmission) as refused:
        JobInfo(wrong)

    assert refused.value.field == "job_class"


def test_a_result_is_read_back_as_the_type_that_was_returned() -> None:
    info = JobInfo("Work", result={"corner": "/data", "size": 2})

    assert info.result_as(Box) == Box(corner=Path("/data"), size=2)
    assert JobInfo("Work", result=["a"]).result_as(set[Path]) == {Path("a")}
