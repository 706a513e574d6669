"""The directory of a private stack: made, held by a lock while its owner lives, removed; left-overs are swept.

The lock is the kernel's: it falls with the process that holds it, however that ends, so a directory whose lock can
be taken has no owner. No process id is trusted: they are used again, and mean nothing in another container.
"""

import contextlib
import fcntl
import hashlib
import os
import shutil
import tempfile
from pathlib import Path
from typing import IO

from jobservice.domain.errors import ServerStartError
from jobservice.servers.account import Account

_TEMPORARY = Path("/var/tmp")  # on disk, unlike many a /tmp, and short: a socket's path has at most 103 bytes
_PREFIX = "jobservice-"
_LOCK = "owner.lock"
_DATA_OF_ROOT = Path("/var/lib/jobservice")


class StackDirectory:
    """A directory that this process owns until `release`."""

    def __init__(self, path: Path, lock: IO[str], *, existed: bool) -> None:
        self.path = path
        self._lock = lock
        self._existed = existed

    @classmethod
    def temporary(cls) -> "StackDirectory":
        """Make a new one; first remove those whose owner was killed."""
        _sweep()
        making = Path(tempfile.mkdtemp(prefix=f".{_PREFIX}", dir=_TEMPORARY))
        if os.geteuid() == 0:
            making.chmod(0o711)  # the server's account must pass through
        lock = _locked(making / _LOCK)
        path = making.with_name(making.name.removeprefix("."))  # visible to a sweep only now that it is locked
        making.rename(path)
        return cls(path, lock, existed=False)

    @classmethod
    def at(cls, path: Path) -> "StackDirectory":
        """Take `path`, made when it is missing. Raises ServerStartError when another process holds it."""
        existed = path.is_dir() and any(path.iterdir())
        path.mkdir(parents=True, exist_ok=True, mode=0o711 if os.geteuid() == 0 else 0o700)
        try:
            return cls(path.resolve(), _locked(path / _LOCK), existed=existed)
        except BlockingIOError:
            raise ServerStartError(
                f"the servers of {path} are run by another process; stop it, or name another directory"
            ) from None

    def reachable_for(self, account: Account, name: str) -> Path:
        """Where a server under `account` may keep its data: here, or under /var/lib where it cannot come in here."""
        if account.can_enter(self.path):
            return self.path / name
        place = _DATA_OF_ROOT / hashlib.sha256(str(self.path).encode()).hexdigest()[:12]
        link = self.path / name
        if not link.is_symlink():
            shutil.rmtree(place, ignore_errors=True)  # of a directory of the same name that is gone
            link.symlink_to(place / name)
        place.mkdir(parents=True, exist_ok=True, mode=0o711)
        return place / name

    def release(self, *, keep: bool) -> None:
        """Give it up; unless kept, remove what is in it, and itself if it was not there before."""
        if not keep:
            _empty(self.path)
            if not self._existed:
                with contextlib.suppress(OSError):
                    self.path.rmdir()
        self._lock.close()


def _locked(file: Path) -> IO[str]:
    lock = file.open("w")
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        lock.close()
        raise
    return lock


def _sweep() -> None:
    for path in _TEMPORARY.glob(f"{_PREFIX}*"):
        with contextlib.suppress(OSError):  # held, another user's, or just removed by another sweep
            if path.stat().st_uid == os.geteuid() and (path / _LOCK).exists():
                with _locked(path / _LOCK):
                    shutil.rmtree(path, ignore_errors=True)


def _empty(directory: Path) -> None:
    """Remove the servers' own files only: a directory that was given may hold others."""
    for pattern in ("postgres*", "rabbitmq*", _LOCK):
        for path in directory.glob(pattern):
            if path.is_symlink():
                shutil.rmtree(path.resolve().parent, ignore_errors=True)
            if path.is_dir() and not path.is_symlink():
                shutil.rmtree(path, ignore_errors=True)
            else:
                path.unlink(missing_ok=True)
