"""Workspaces of a daemon that is gone are removed by the next one, and nobody else's."""

import subprocess
import sys
from pathlib import Path
from uuid import uuid4

import structlog

from jobservice.pool.workspace import Workspaces
from jobservice.pool.workspace_owner import WorkspaceOwner

TAKE_AND_DIE = """
import os, sys
from pathlib import Path
import structlog
from jobservice.pool.workspace_owner import WorkspaceOwner
WorkspaceOwner(Path(sys.argv[1]), structlog.get_logger()).take()
os.kill(os.getpid(), 9)
"""


def owner_of(directory: Path) -> WorkspaceOwner:
    return WorkspaceOwner(directory, structlog.get_logger())


def with_a_workspace(directory: Path) -> Path:
    file = Workspaces(directory, structlog.get_logger()).make(uuid4(), 1) / "half a result"
    file.write_text("…")
    return file


def test_what_a_killed_daemon_left_is_removed_by_another(tmp_path: Path) -> None:
    left = with_a_workspace(tmp_path / "dead")
    subprocess.run([sys.executable, "-c", TAKE_AND_DIE, str(tmp_path / "dead")], check=False)
    living = owner_of(tmp_path / "living")
    living.take()

    removed = living.remove_left_over()

    assert removed == 1
    assert not left.exists()
    assert [path.name for path in tmp_path.iterdir()] == ["living.lock"]


def test_what_a_living_daemon_has_is_left_alone(tmp_path: Path) -> None:
    kept = with_a_workspace(tmp_path / "first")
    first, second = owner_of(tmp_path / "first"), owner_of(tmp_path / "second")
    first.take()
    second.take()

    assert (first.remove_left_over(), second.remove_left_over()) == (0, 0)
    assert kept.exists()


def test_a_daemon_that_leaves_with_nothing_in_its_directory_leaves_no_mark(tmp_path: Path) -> None:
    owner = owner_of(tmp_path / "leaving")
    owner.take()

    owner.release()

    assert list(tmp_path.iterdir()) == []


def test_what_a_daemon_could_not_take_along_goes_with_the_next_look_of_another(tmp_path: Path) -> None:
    left = with_a_workspace(tmp_path / "leaving")
    leaving, living = owner_of(tmp_path / "leaving"), owner_of(tmp_path / "living")
    leaving.take()
    living.take()
    leaving.release()

    removed = living.remove_left_over()

    assert (removed, left.exists()) == (1, False)


def test_what_is_no_daemons_is_not_touched(tmp_path: Path) -> None:
    (tmp_path / "notes").mkdir()
    (tmp_path / "notes" / "file").touch()
    owner = owner_of(tmp_path / "living")
    owner.take()

    assert owner.remove_left_over() == 0
    assert (tmp_path / "notes" / "file").exists()


def test_a_place_that_cannot_be_written_is_told_and_stops_nothing(tmp_path: Path) -> None:
    (tmp_path / "place").touch()
    owner = owner_of(tmp_path / "place" / "daemon")

    with structlog.testing.capture_logs() as lines:
        owner.take()
        owner.release()

    assert [line["event"] for line in lines] == ["workspace.unmarked"]
    assert owner.remove_left_over() == 0
