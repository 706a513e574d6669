"""The demo's own directory: the daemon's log, the workspaces. Removed with the demo, or by the next one."""

import contextlib
import shutil
from collections.abc import Iterator
from pathlib import Path

from jobservice.servers.directory import StackDirectory


@contextlib.contextmanager
def own_place() -> Iterator[Path]:
    """A directory that is held by a lock, so that what a killed demo has left is swept as its servers' are."""
    directory = StackDirectory.temporary()
    try:
        yield directory.path
    finally:
        shutil.rmtree(directory.path, ignore_errors=True)
        directory.release(keep=False)
