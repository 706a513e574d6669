"""The demo's input: directories of the running interpreter's own library. Reads the file system, writes nothing."""

import os
import sysconfig
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

FILES_PER_JOB = 150
BYTES_PER_JOB = 3_000_000
_NOT_LIBRARY = {"site-packages", "dist-packages", "lib-dynload", "__pycache__"}
_LOOKED_AT_MOST = 20_000  # entries: an installation of many packages is not walked to its end


@dataclass(frozen=True, slots=True)
class Directory:
    """A tree of files, `name` as the reader knows it."""

    path: Path
    name: str
    files: int


def own_library(count: int) -> list[Directory]:
    """The `count` largest trees that one job takes at ease, no two of which overlap; fewer where there are fewer."""
    found: list[Directory] = []
    for root in _roots():
        found += _trees(root, root, left=[_LOOKED_AT_MOST])
    found.sort(key=lambda tree: (-tree.files, tree.name))
    return found[:count]


def _roots() -> list[Path]:
    paths = sysconfig.get_paths()
    return list(dict.fromkeys(Path(paths[name]) for name in ("stdlib", "purelib")))


def _trees(root: Path, top: Path, left: list[int]) -> Iterator[Directory]:
    for below in _directories(top):
        files, size = _measured(below, left)
        if files > FILES_PER_JOB or size > BYTES_PER_JOB:
            yield from _trees(root, below, left)
        elif files:
            yield Directory(below, str(below.relative_to(root)), files)
        if left[0] <= 0:
            return


def _directories(top: Path) -> list[Path]:
    try:
        with os.scandir(top) as entries:
            names = [entry.name for entry in entries if entry.is_dir(follow_symlinks=False)]
    except OSError:
        return []
    return [top / name for name in sorted(names) if name not in _NOT_LIBRARY and name[0] != "."]


def _measured(top: Path, left: list[int]) -> tuple[int, int]:
    """Files and bytes below `top`; no further than to see that it is too much for one job."""
    files = size = 0
    waiting = [os.fspath(top)]
    while waiting and files <= FILES_PER_JOB and size <= BYTES_PER_JOB:
        try:
            with os.scandir(waiting.pop()) as entries:
                for entry in entries:
                    left[0] -= 1
                    if entry.is_dir(follow_symlinks=False):
                        waiting.append(entry.path)
                    elif entry.is_file(follow_symlinks=False):
                        files += 1
                        size += entry.stat(follow_symlinks=False).st_size
        except OSError:
            continue
    return files, size
