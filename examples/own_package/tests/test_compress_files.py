"""Tests of a job class: no daemon, no database, no broker."""

import gzip
from pathlib import Path

from archive_jobs.compress_files import CompressFiles, CompressReport

from jobservice import JobStatus
from jobservice.testing import run_job


def test_matching_files_become_archives(tmp_path: Path) -> None:
    (tmp_path / "a.log").write_text("hello\n" * 1000)
    (tmp_path / "notes.txt").write_text("left alone")

    result = run_job(CompressFiles, directory=tmp_path)

    assert result.status == JobStatus.SUCCEEDED
    assert result.result_as(CompressReport).files == 1
    assert gzip.decompress((tmp_path / "a.log.gz").read_bytes()) == b"hello\n" * 1000
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.log.gz", "notes.txt"]


def test_a_stopped_run_leaves_whole_files_and_a_later_run_does_the_rest(tmp_path: Path) -> None:
    for name in ("a.log", "b.log", "c.log"):
        (tmp_path / name).write_text(name)

    stopped = run_job(CompressFiles, stop_when=lambda progress: progress.done == 1, directory=tmp_path)
    again = run_job(CompressFiles, directory=tmp_path)

    assert stopped.status == JobStatus.ABORTED
    assert again.result_as(CompressReport).files == 2
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.log.gz", "b.log.gz", "c.log.gz"]


def test_a_missing_parameter_fails_the_job_before_it_starts() -> None:
    result = run_job(CompressFiles)

    assert (result.status, result.started) == (JobStatus.FAILED, False)
    assert result.error is not None and "directory" in result.error


def test_a_directory_that_is_not_there_fails_nothing_and_does_nothing(tmp_path: Path) -> None:
    result = run_job(CompressFiles, directory=tmp_path / "gone")

    assert result.result_as(CompressReport) == CompressReport(0, 0, 0)
