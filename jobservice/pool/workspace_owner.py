"""Owns the mark that a daemon's workspaces have an owner, and removes those whose owner is gone.

The mark is a locked file beside the daemon's directory. The kernel lets go of it however the process ends, so nobody
has to ask a database who lives; several installations, or containers with one volume, may share the place.
"""

import asyncio
import fcntl
import os
from pathlib import Path

from structlog.typing import FilteringBoundLogger

from jobservice.pool.workspace import remove_tree

SWEEP_INTERVAL = 60.0
_SUFFIX = ".lock"


class WorkspaceOwner:
    """Of one daemon's directory: `take` at its start, `release` at its end, `remove_left_over` now and then."""

    def __init__(self, directory: Path, log: FilteringBoundLogger) -> None:
        self._directory = directory
        self._mark = directory.with_name(directory.name + _SUFFIX)
        self._log = log
        self._lock: int | None = None

    def take(self) -> None:
        """Marks the directory as owned. Where that fails the daemon runs on: jobs that need a workspace will say so."""
        new = self._mark.with_suffix(".new")
        try:
            new.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            self._lock = os.open(new, os.O_CREAT | os.O_RDWR, 0o600)
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            new.rename(self._mark)  # it appears locked: nobody can take it for one whose owner is gone
        except OSError as error:
            self._log.warning("workspace.unmarked", path=str(self._mark), reason=str(error))

    def release(self) -> None:
        """Takes the mark away; what is still in the directory is left to the next look of another daemon."""
        if self._lock is None:
            return
        if not self._directory.exists():
            self._mark.unlink(missing_ok=True)
        os.close(self._lock)
        self._lock = None

    async def run_once(self) -> float | None:
        """A look in a thread: trees may be large. Belongs to a Loop."""
        await asyncio.to_thread(self.remove_left_over)
        return None

    def remove_left_over(self) -> int:
        """Removes the directories beside this one whose owners are gone; returns how many marks went."""
        removed = 0
        for mark in sorted(self._directory.parent.glob(f"*{_SUFFIX}")):
            if mark != self._mark:
                removed += self._remove(mark)
        return removed

    def _remove(self, mark: Path) -> bool:
        try:
            lock = os.open(mark, os.O_RDWR)
        except OSError:
            return False  # just gone, or another user's
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            return False  # its owner lives
        else:
            directory = mark.with_suffix("")
            if not remove_tree(directory):
                self._log.warning("workspace.left_over", path=str(directory))
                return False
            mark.unlink(missing_ok=True)
            self._log.info("workspace.sweep", path=str(directory))
            return True
        finally:
            os.close(lock)
