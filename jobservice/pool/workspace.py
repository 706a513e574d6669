"""Owns the private directories of runs below one directory of this daemon. Called by runs, and by the sweep."""

import os
import re
import shutil
import stat
from collections.abc import Set as AbstractSet
from contextlib import suppress
from pathlib import Path
from uuid import UUID

from structlog.typing import FilteringBoundLogger

_NAME = re.compile(r"([0-9a-f-]{36})\.([0-9]+)")


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
        """Removes the directory with all that is in it. Never raises: what will not go is logged, and swept later."""
        self._remove(self.path_for(job_id, run))

    def sweep(self, live: AbstractSet[tuple[UUID, int]]) -> int:
        """Removes the left-overs of runs that are not `live`; returns how many. Other names are not touched."""
        removed = 0
        for path, of in self._found():
            if of not in live:
                removed += self._remove(path)
        return removed

    def close(self) -> None:
        """The daemon leaves: the directory goes, unless there is something left over in it."""
        with suppress(OSError):
            self.directory.rmdir()

    def _found(self) -> list[tuple[Path, tuple[UUID, int]]]:
        try:
            names = os.listdir(self.directory)  # noqa: PTH208 - names are matched, not paths
        except OSError:
            return []
        found = []
        for name in names:
            match = _NAME.fullmatch(name)
            if match and (job_id := _uuid(match[1])):
                found.append((self.directory / name, (job_id, int(match[2]))))
        return found

    def _remove(self, path: Path) -> bool:
        shutil.rmtree(path, ignore_errors=True)
        if os.path.lexists(path):
            _open_up(path)
            shutil.rmtree(path, ignore_errors=True)
        gone = not os.path.lexists(path)
        if not gone:
            self._log.warning("workspace.left_over", path=str(path))
        return gone


def _uuid(text: str) -> UUID | None:
    try:
        return UUID(text)
    except ValueError:
        return None


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
