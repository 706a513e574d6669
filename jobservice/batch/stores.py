"""A place for a file: a local path or any URL that fsspec knows. Writes whole files aside and moves them into place.

Local files are synced with their directory before a move. On other stores a move is as atomic as theirs: a rename on
file servers, a copy and a removal on object stores, where the new object appears at once and whole.
"""

import io
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, BinaryIO, cast

import fsspec
from fsspec.implementations.local import LocalFileSystem

from jobservice.batch.errors import FileLost

BLOCK = 1024 * 1024


class Place:
    """One path of one store."""

    def __init__(self, store: Any, path: str) -> None:
        self._store = store
        self.path = path
        self.is_local = isinstance(store, LocalFileSystem)

    @classmethod
    def of(cls, url: str | os.PathLike[str], options: Mapping[str, Any] | None = None) -> "Place":
        """`options` are those of the store: credentials, endpoints."""
        path = os.fspath(url)
        if "://" not in path:
            return cls(LocalFileSystem(), LocalFileSystem._strip_protocol(path))  # "::" means nothing here
        return cls(*fsspec.core.url_to_fs(path, **(options or {})))

    def beside(self, suffix: str) -> "Place":
        """The path with a suffix."""
        return Place(self._store, self.path + suffix)

    @property
    def name(self) -> str:
        """The last part of the path."""
        return self.path.rpartition("/")[2]

    def exists(self) -> bool:
        """Whether there is a file now."""
        self._store.invalidate_cache()
        return bool(self._store.exists(self.path))

    def size(self) -> int:
        """In bytes. Raises FileLost where there is no file."""
        self._store.invalidate_cache()
        try:
            return int(self._store.size(self.path))
        except FileNotFoundError as error:
            raise FileLost(f"there is no file {self.path}") from error

    def open(self) -> BinaryIO:
        """To read from anywhere in it. Raises FileLost where there is no file."""
        try:
            if self.is_local:
                return Path(self.path).open("rb", buffering=BLOCK)
            return cast(BinaryIO, io.BufferedReader(self._store.open(self.path, "rb"), BLOCK))
        except FileNotFoundError as error:
            raise FileLost(f"there is no file {self.path}") from error

    def blocks(self) -> Iterator[bytes]:
        """All that is in it."""
        with self.open() as stream:
            while block := stream.read(BLOCK):
                yield block

    @contextmanager
    def written(self, aside: str = ".new") -> Iterator[BinaryIO]:
        """A new file: it has the place when the block has ended well, and never a half of it."""
        new = self.beside(aside)
        try:
            new.make_directory()
            with Path(new.path).open("wb") if self.is_local else self._store.open(new.path, "wb") as stream:
                yield stream
                if self.is_local:
                    sync(stream)
        except BaseException:
            with suppress(OSError):
                new.remove()
            raise
        new.move_to(self)

    def move_to(self, other: "Place") -> None:
        """In the same store; what is there is replaced."""
        if self.is_local:
            Path(self.path).replace(other.path)
            sync_directory(other.path)
        else:
            self._store.mv(self.path, other.path)

    def remove(self) -> None:
        """Nothing where it is not: asked before, since each store has an error of its own for that."""
        if self.exists():
            with suppress(FileNotFoundError):
                self._store.rm(self.path)

    def make_directory(self) -> None:
        """That in which the file is to be."""
        self._store.makedirs(self._store._parent(self.path), exist_ok=True)

    def put(self, data: bytes) -> None:
        """The file has just this."""
        self.make_directory()
        self._store.pipe_file(self.path, data)

    def children(self) -> list["Place"]:
        """The files in it as a directory, by name; none where there is none."""
        self._store.invalidate_cache()
        try:
            found = self._store.ls(self.path, detail=True)  # without, FTP gives names and no paths
        except FileNotFoundError:
            return []
        return [Place(self._store, path) for path in sorted(each["name"] for each in found)]

    def remove_tree(self) -> None:
        """A directory and what is in it."""
        if self.exists():
            with suppress(FileNotFoundError):
                self._store.rm(self.path, recursive=True)


def sync(stream: Any) -> None:
    """What was written is on the disk."""
    stream.flush()
    os.fsync(stream.fileno())


def sync_directory(path: str) -> None:
    """The names in a file's directory are on the disk."""
    directory = os.open(Path(path).parent, os.O_RDONLY)
    try:
        os.fsync(directory)
    finally:
        os.close(directory)
