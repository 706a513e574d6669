"""What a job tells beside the counts, before it is stored anywhere."""

import json
from typing import Any

import pytest

from jobservice.sdk.progress import Progress
from jobservice.sdk.progress_info import INFO_MAX, STEPS_MAX, ProgressInfo, ProgressRefused


def stored(info: ProgressInfo) -> Any:
    return json.loads(info.text(100.0))


def test_the_free_object_is_replaced_and_the_steps_stay() -> None:
    info = ProgressInfo()
    info.begin("a", 101.0)
    info.replace({"x": 1})

    info.replace({"y": [2**70]})

    assert stored(info) == {"y": [2**70], "steps": {"a": {"status": "running", "at": 1_000_000, "took": None}}}


def test_a_step_ends_done_or_failed_and_may_begin_anew() -> None:
    info = ProgressInfo()
    for name, failed in (("good", False), ("bad", True)):
        info.begin(name, 100.5)
        info.end(name, 102.0, failed=failed)
    info.begin("again", 100.0)
    info.end("again", 101.0, failed=True)
    info.begin("again", 105.0)

    assert stored(info)["steps"] == {
        "good": {"status": "done", "at": 500_000, "took": 1_500_000},
        "bad": {"status": "failed", "at": 500_000, "took": 1_500_000},
        "again": {"status": "running", "at": 5_000_000, "took": None},
    }


@pytest.mark.parametrize(("failed", "status"), [(False, "done"), (True, "failed")])
def test_the_end_of_the_run_ends_what_still_runs_and_later_words_count_for_nothing(failed: bool, status: str) -> None:
    info = ProgressInfo()
    info.begin("a", 100.0)

    info.close(103.0, failed=failed)
    info.end("a", 104.0, failed=not failed)
    info.begin("b", 104.0)

    assert stored(info)["steps"] == {"a": {"status": status, "at": 0, "took": 3_000_000}}


def test_only_what_changed_since_it_was_written_is_written_again() -> None:
    info = ProgressInfo()
    assert info.unwritten(100.0) is None
    info.replace({"n": 1})
    first = info.unwritten(100.0)
    assert first is not None

    info.replace({"n": 2})
    info.written(first[0])
    second = info.unwritten(100.0)
    assert second is not None
    info.written(second[0])

    assert [json.loads(text) for _, text in (first, second)] == [{"n": 1}, {"n": 2}]
    assert info.unwritten(100.0) is None


def test_it_crosses_the_border_of_a_process_with_its_times_once_for_each_change() -> None:
    here, there = ProgressInfo(), ProgressInfo()
    here.replace({"n": 2**70})
    here.begin("a", 101.0)
    here.begin("b", 102.0)
    here.end("b", 103.0, failed=False)

    told = here.told()
    assert told is not None
    there.take_over(told)

    assert stored(there) == stored(here)
    assert here.told() is None


def test_steps_that_began_before_the_start_was_heard_of_keep_their_distances() -> None:
    info = ProgressInfo()
    info.begin("a", 99.5)
    info.end("a", 99.75, failed=False)
    info.begin("b", 99.75)
    info.begin("a", 101.5)

    assert {name: step["at"] for name, step in stored(info)["steps"].items()} == {"a": 2_000_000, "b": 250_000}


@pytest.mark.parametrize(
    ("value", "said"),
    [
        (["a"], "is an object, not list"),
        ({"n": [float("nan")]}, r"progress_info\.n\[0\]: the number nan is not finite"),
        ({"steps": {}}, "'steps' is made by begin_step"),
        ({"n": "x" * INFO_MAX}, "at most 65,536 are kept"),
    ],
)
def test_what_cannot_be_kept_is_refused_and_changes_nothing(value: Any, said: str) -> None:
    info = ProgressInfo()
    info.replace({"n": 1})

    with pytest.raises(ProgressRefused, match=said):
        info.replace(value)

    assert stored(info) == {"n": 1}


@pytest.mark.parametrize("name", ["", "x" * 201, "a\x00", 5])
def test_a_step_has_a_name_that_can_be_kept(name: Any) -> None:
    with pytest.raises(ProgressRefused):
        ProgressInfo().begin(name, 100.0)


def test_a_step_that_does_not_run_cannot_end_and_there_are_not_too_many() -> None:
    info = ProgressInfo()
    for n in range(STEPS_MAX):
        info.begin(str(n), 100.0)
    info.end("0", 101.0, failed=False)

    for call in (lambda: info.end("0", 102.0, failed=False), lambda: info.end("x", 102.0, failed=False)):
        with pytest.raises(ProgressRefused, match="is not running"):
            call()
    with pytest.raises(ProgressRefused, match="at most 200 steps"):
        info.begin("one more", 102.0)
    info.begin("0", 103.0)


def test_a_progress_without_it_has_none_and_one_with_it_is_to_be_written() -> None:
    progress = Progress()
    progress.advance(1)
    progress.take()
    assert progress.info is None

    progress.begin_step("a")

    assert progress.take() is not None
    assert progress.take() is None
