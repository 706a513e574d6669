"""A job of a stage, tried without a pipeline anywhere."""

from pathlib import Path

from archive_jobs.find_logs import FindLogs

from jobservice.testing import run_job


def test_each_directory_with_logs_becomes_a_job_of_the_next_stage(tmp_path: Path) -> None:
    for name in ("a/one.txt", "a/two.txt", "b/c/three.txt", "d/four.log"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()

    told = run_job(FindLogs, stage_data={"pattern": "*.txt"}, root=tmp_path, pattern={"$stage": "pattern"})

    *added, counted = told.stage_changes
    directories = [change["jobs"][0]["parameters"]["directory"] for change in added]
    assert directories == [str(tmp_path / "a"), str(tmp_path / "b" / "c")]
    assert {change["stage"] for change in added} == {"compress"}
    assert counted == {"increment": "directories", "by": 2}
