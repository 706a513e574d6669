"""Workspaces are private, and none is left over."""

import os
from pathlib import Path
from uuid import uuid4

import pytest
import structlog
from structlog.testing import capture_logs

from jobservice.pool.workspace import Workspaces


@pytest.fixture
def workspaces(tmp_path: Path) -> Workspaces:
    return Workspaces(tmp_path / "runs", structlog.get_logger())


def test_each_run_of_a_job_has_a_directory_of_its_own(workspaces: Workspaces) -> None:
    job_id = uuid4()

    first, second = workspaces.make(job_id, 1), workspaces.make(job_id, 2)

    assert first != second
    assert {path.stat().st_mode & 0o777 for path in (first, second, workspaces.directory)} == {0o700}


def test_removing_takes_all_that_is_inside_but_not_what_links_lead_to(workspaces: Workspaces, tmp_path: Path) -> None:
    job_id = uuid4()
    outside = tmp_path / "outside"
    outside.mkdir(mode=0o755)
    (outside / "kept").touch()
    path = workspaces.make(job_id, 1)
    (path / "link").symlink_to(outside)
    Path(os.fsdecode(bytes(path) + b"/caf\xe9")).touch()
    locked = path / "locked"
    (locked / "below").mkdir(parents=True)
    (locked / "below" / "file").touch()
    (locked / "below").chmod(0)
    locked.chmod(0)

    workspaces.remove(job_id, 1)

    assert not path.exists()
    assert (outside / "kept").exists()
    assert outside.stat().st_mode & 0o777 == 0o755


def test_removing_what_is_not_there_is_no_error(workspaces: Workspaces) -> None:
    workspaces.remove(uuid4(), 1)


def test_what_cannot_be_removed_is_logged_and_raises_nothing(
    workspaces: Workspaces, monkeypatch: pytest.MonkeyPatch
) -> None:
    job_id = uuid4()
    path = workspaces.make(job_id, 1)
    monkeypatch.setattr("jobservice.pool.workspace.shutil.rmtree", lambda path, ignore_errors: None)

    with capture_logs() as lines:
        workspaces.remove(job_id, 1)

    assert [(line["event"], line["path"]) for line in lines] == [("workspace.left_over", str(path))]


def test_a_closed_directory_is_gone_unless_something_is_left_in_it(workspaces: Workspaces) -> None:
    job_id = uuid4()
    workspaces.make(job_id, 1)

    workspaces.close()
    kept = workspaces.directory.exists()
    workspaces.remove(job_id, 1)
    workspaces.close()

    assert kept
    assert not workspaces.directory.exists()
    workspaces.close()
