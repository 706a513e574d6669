"""How much room there is for workspaces, and how much of it a directory takes. It asks the file system, no more."""

import os
import shutil
import stat
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

_BLOCK = 512


@dataclass(frozen=True, slots=True)
class Room:
    """The file system of a directory. What is set aside for root is counted neither as used nor as free."""

    used_percent: float
    free_bytes: int


def room_at(directory: Path) -> Room:
    """The room where `directory` is, or will be made. Raises OSError."""
    place = next(each for each in (directory, *directory.absolute().parents) if each.exists())
    usage = shutil.disk_usage(place)
    usable = usage.used + usage.free
    return Room(used_percent=100 * usage.used / usable if usable else 0.0, free_bytes=usage.free)


def bytes_below(directory: Path, given_up: Callable[[], bool]) -> int:
    """What the files below `directory` take of the disk; links are not followed, and a file is counted once.

    What vanishes meanwhile, or may not be read, takes nothing. `given_up` is asked at each directory, and ends it.
    """
    total = 0
    seen: set[int] = set()
    for entry in _entries(directory, given_up):
        try:
            found = entry.stat(follow_symlinks=False)
        except OSError:
            continue
        if found.st_nlink > 1 and not stat.S_ISDIR(found.st_mode):
            if found.st_ino in seen:
                continue
            seen.add(found.st_ino)
        total += found.st_blocks * _BLOCK
    return total


def _entries(directory: Path, given_up: Callable[[], bool]) -> Iterator[os.DirEntry[str]]:
    waiting = [os.fspath(directory)]
    while waiting and not given_up():
        try:
            with os.scandir(waiting.pop()) as found:
                for entry in found:
                    yield entry
                    if entry.is_dir(follow_symlinks=False):
                        waiting.append(entry.path)
        except OSError:
            continue
