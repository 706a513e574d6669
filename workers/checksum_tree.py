"""ChecksumTree: the digest of every file below a directory, as a manifest that a later run can be compared with."""

import asyncio
import hashlib
import os
import stat
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from time import monotonic
from typing import BinaryIO, Final, TypeVar

from jobservice import AbstractJob

T = TypeVar("T")

SLICE_SECONDS: Final = 0.05
"""Work is done on a thread in slices of this length; a stop takes effect between two of them."""
PIECE: Final = 1024 * 1024


@dataclass(frozen=True, slots=True)
class ChecksumReport:
    """The manifest of a tree. Names are relative to `root`; bytes that are not UTF-8 are written as `\\xff`."""

    root: str
    algorithm: str
    count: int
    """Files in the manifest."""
    bytes: int
    """Their sizes together."""
    manifest: dict[str, str]
    """File → hexadecimal digest."""
    errors: dict[str, str] = field(default_factory=dict)
    """File or directory → why it could not be read; it may have vanished in between."""


class ChecksumTree(AbstractJob):
    """Digests every regular file below `root`, one tick per file. Symbolic links are not followed.

    `algorithm` is any of Python's hashlib with a digest of fixed size. A root that is no readable directory fails the
    job; what cannot be read below it is listed in the report.
    """

    async def run(self, root: Path, algorithm: str = "sha256") -> ChecksumReport:
        check_algorithm(algorithm)
        errors: dict[str, str] = {}
        files = [file async for some in sliced(find_files(root, errors)) for file in some]

        self.completion_count = len(files)
        manifest: dict[str, str] = {}
        size = 0
        async for some in sliced(digest_files(root, files, algorithm, errors)):
            for digested in some:
                if digested.digest is not None:
                    manifest[shown(digested.file)] = digested.digest
                    size += digested.size
                self.advance_completion()

        return ChecksumReport(
            root=shown(os.fspath(root)),
            algorithm=algorithm,
            count=len(manifest),
            bytes=size,
            manifest=manifest,
            errors=errors,
        )


@dataclass(frozen=True, slots=True)
class Digested:
    """One file that is done with; no digest means that it could not be read."""

    file: str
    digest: str | None
    size: int


def check_algorithm(algorithm: str) -> None:
    """Raises ValueError for an algorithm that is unknown or has no digest of fixed size."""
    try:
        fits = hashlib.new(algorithm, usedforsecurity=False).digest_size > 0
    except (ValueError, TypeError):
        fits = False
    if not fits:
        known = sorted(name for name in hashlib.algorithms_guaranteed if not name.startswith("shake"))
        raise ValueError(f"algorithm {algorithm!r} is not one of {', '.join(known)}")


async def sliced(work: Iterator[T | None]) -> AsyncIterator[list[T]]:
    """What `work` yields, done on a thread and handed over slice by slice; its Nones only mark where to pause."""
    step: Callable[[], tuple[list[T], bool]] = partial(_one_slice, work)
    more = True
    while more:
        some, more = await asyncio.to_thread(step)
        yield some


def _one_slice(work: Iterator[T | None]) -> tuple[list[T], bool]:
    some: list[T] = []
    end = monotonic() + SLICE_SECONDS
    for each in work:
        if each is not None:
            some.append(each)
        if monotonic() >= end:
            return some, True
    return some, False


def find_files(root: Path, errors: dict[str, str]) -> Iterator[str | None]:
    """Names, relative to `root`, of the regular files below it. Raises OSError for `root` itself."""
    top = os.fspath(root)
    waiting = [""]
    while waiting:
        directory = waiting.pop()
        try:
            with os.scandir(os.path.join(top, directory)) as found:  # noqa: PTH118 - names may not be UTF-8; keep them
                entries = sorted(found, key=lambda entry: entry.name)
        except OSError as error:
            if not directory:
                raise
            errors[shown(directory)] = _reason(error)
            continue
        below = []
        for entry in entries:
            name = f"{directory}/{entry.name}" if directory else entry.name
            if entry.is_dir(follow_symlinks=False):
                below.append(name)
            elif entry.is_file(follow_symlinks=False):
                yield name
        waiting.extend(reversed(below))
        yield None


def digest_files(root: Path, files: list[str], algorithm: str, errors: dict[str, str]) -> Iterator[Digested | None]:
    """The digest of each file, with a None after each piece of a large one."""
    top = os.fspath(root)
    for file in files:
        digest = hashlib.new(algorithm, usedforsecurity=False)
        size = 0
        try:
            with _opened(f"{top}/{file}") as stream:
                while piece := stream.read(PIECE):
                    digest.update(piece)
                    size += len(piece)
                    yield None
        except OSError as error:
            errors[shown(file)] = _reason(error)
            yield Digested(file, None, 0)
        else:
            yield Digested(file, digest.hexdigest(), size)


def _opened(path: str) -> BinaryIO:
    """The file, if it is still a regular one: what was put in its place could be a link, or a pipe that never opens."""
    descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise OSError("not a regular file any more")
    return os.fdopen(descriptor, "rb", buffering=0)


def shown(name: str) -> str:
    """A file name as text that can be stored; one that is not UTF-8 has its odd bytes, and backslashes, escaped."""
    if name.isascii():
        return name
    raw = os.fsencode(name)
    try:
        return raw.decode()
    except UnicodeDecodeError:
        return raw.replace(b"\\", b"\\\\").decode("utf-8", "backslashreplace")


def _reason(error: OSError) -> str:
    return error.strerror or str(error)
