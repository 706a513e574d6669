"""A user tests a job class with the kit, without any server."""

from dataclasses import dataclass
from pathlib import Path

import pytest

from jobservice import AbstractJob, JobInfo, JobStatus
from jobservice.domain.errors import DefinitionError, InvalidSubmission
from jobservice.testing import arun_job, run_job


@dataclass
class Counted:
    words: int
    source: Path


class CountWords(AbstractJob):
    needs_workspace = True

    async def run(self, source: Path, limit: int = 1_000) -> Counted:
        words = source.read_text().split()
        self.completion_count = len(words)
        for word in words[:limit]:
            (self.workspace / "last").write_text(word)
            self.advance_completion()
        self.submit_next(JobInfo("CountLines", parameters={"source": source}))
        return Counted(len(words), source)


class Tick(AbstractJob):
    def run(self, times: int) -> int:
        for _ in range(times):
            self.advance_completion()
        return times


@pytest.fixture
def source(tmp_path: Path) -> Path:
    path = tmp_path / "text"
    path.write_text("four words are here")
    return path


def test_a_job_is_run_to_its_result(source: Path) -> None:
    told = run_job(CountWords, source=source)

    assert told.status == JobStatus.SUCCEEDED
    assert told.result_as(Counted) == Counted(4, source)
    assert told.result_class == f"{__name__}.Counted"
    assert told.progress.percent == 100
    assert told.next_jobs == [{"job_class": "CountLines", "parameters": {"source": str(source)}}]
    assert told.workspace_files == {"last": b"here"}


async def test_a_job_is_run_from_an_async_test_too(source: Path) -> None:
    told = await arun_job(CountWords, source=str(source), limit=1)

    assert told.progress.done == 1


def test_a_failure_is_told_as_the_daemon_would_store_it(tmp_path: Path) -> None:
    told = run_job(CountWords, source=tmp_path / "missing")

    assert told.status == JobStatus.FAILED
    assert told.started
    assert told.error_type == "FileNotFoundError"
    assert "read_text" in (told.stack_trace or "")


def test_a_wrong_parameter_fails_the_job_before_its_start() -> None:
    told = run_job(CountWords, limit="many")

    assert (told.status, told.started) == (JobStatus.FAILED, False)
    assert "'source' is missing" in (told.error or "")


@pytest.mark.parametrize("job_class", [CountWords, Tick])
def test_a_stop_is_met_at_the_tick_that_the_test_chose(job_class: type[AbstractJob], source: Path) -> None:
    parameters = {"source": source} if job_class is CountWords else {"times": 10}

    told = run_job(job_class, stop_when=lambda progress: progress.done == 3, **parameters)

    assert told.status == JobStatus.ABORTED
    assert told.progress.done == 3
    assert told.next_jobs == []


def test_what_no_submission_can_carry_is_raised() -> None:
    with pytest.raises(InvalidSubmission, match="source"):
        run_job(CountWords, source=object())


def test_a_wrong_class_is_raised() -> None:
    with pytest.raises(DefinitionError):
        run_job(type("NoRun", (AbstractJob,), {}))


class CutTile(AbstractJob):
    def run(self, size: int, bucket: str) -> list[object]:
        assert self.stage is not None
        assert self.pipeline is not None
        self.update_stage_metadata({"last": size})
        self.increment_stage_metadata("cut", 2, stage="upload")
        self.add_jobs({"parameters": {"n": 1}})
        self.stage.data["size"] = "changed"  # type: ignore[index]
        return [size, bucket, self.stage.position, self.pipeline.data]


def test_a_job_of_a_stage_sees_what_data_it_is_given_and_tells_what_it_would_change() -> None:
    parameters = {"size": {"$stage": "size"}, "bucket": {"$pipeline": "bucket"}}

    told = run_job(CutTile, stage_data={"size": 5}, pipeline_data={"bucket": "maps"}, **parameters)

    assert told.result == [5, "maps", 1, {"bucket": "maps"}]
    assert told.stage_changes == [
        {"merge": {"last": 5}},
        {"stage": "upload", "increment": "cut", "by": 2},
        {"jobs": [{"parameters": {"n": 1}}]},
    ]


def test_a_job_without_a_stage_cannot_change_one() -> None:
    told = run_job(CutTile, size=5, bucket="maps")
    missing = run_job(CutTile, size={"$stage": "size"}, bucket="maps")

    assert (told.error_type, told.stage_changes) == ("AssertionError", [])
    assert (missing.error_type, missing.started) == ("jobservice.domain.errors.JobParameterMissing", False)


class TellsSteps(AbstractJob):
    async def run(self, breaks: bool) -> None:
        self.set_progress_info({"tiles": 3})
        with self.step("download"):
            self.begin_step("beside")
        with self.step("unpack"):
            if breaks:
                raise ValueError("torn")


def test_steps_and_the_free_object_are_told_and_end_with_the_job() -> None:
    ends = {}
    for breaks in (False, True):
        told = run_job(TellsSteps, breaks=breaks).progress_info
        assert told is not None
        assert told["tiles"] == 3
        assert all(step["elapsed_ms"] >= 0 for step in told["steps"].values())
        ends[breaks] = {name: step["status"] for name, step in told["steps"].items()}

    assert ends[False] == {"download": "done", "beside": "done", "unpack": "done"}
    assert ends[True] == {"download": "done", "beside": "failed", "unpack": "failed"}
    assert run_job(Tick, times=1).progress_info is None
