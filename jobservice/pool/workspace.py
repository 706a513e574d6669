"""Owns the private directories of runs below one directory of this daemon. Called by runs."""

import os
import shutil
import stat
from contextlib import suppress
from pathlib import Path
from uuid import UUID

from structlog.typing import FilteringBoundLogger


class Workspaces:
    """One directory per run, named after the job's id and the run, readable by nobody else."""

    def __init__(self, directory: Path, log: FilteringBoundLogger) -> None:
        self.directory = directory
        self._log = log

    def path_for(self, job_id: UUID, run: int) -> Path:
        """Where the workspace of this run is, or would be."""
        return self.directory / f"{job_id}.{run}"

    def make(self, job_id: UUID, run: int) -> Path:
        """A fresh, empty directory. Raises OSError."""
        path = self.path_for(job_id, run)
        self.directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        path.mkdir(mode=0o700)
        return path

    def remove(self, job_id: UUID, run: int) -> None:
        """Removes the directory with all that is in it. Never raises: what will not go is logged."""
        path = self.path_for(job_id, run)
        if not remove_tree(path):
            self._log.warning("workspace.left_over", path=str(path))

    def close(self) -> None:
        """The daemon leaves: the directory goes, unless there is something left over in it."""
        with suppress(OSError):
            self.directory.rmdir()


def remove_tree(path: Path) -> bool:
    """Removes a directory with all that is in it, where its owner's rights allow; returns whether it is gone."""
    shutil.rmtree(path, ignore_errors=True)
    if os.path.lexists(path):
        _open_up(path)
        shutil.rmtree(path, ignore_errors=True)
    return not os.path.lexists(path)


def _open_up(path: Path) -> None:
    """Gives the owner all rights on the directories below: a job may have taken them from itself."""
    _allow(path)
    for directory, names, _ in os.walk(path):
        for name in names:
            _allow(Path(directory, name))


def _allow(directory: Path) -> None:
    try:
        # A link is a name for what may lie outside.
        if not directory.is_symlink():
            directory.chmod(stat.S_IRWXU)
    except OSError:
        return
