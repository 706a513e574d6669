"""Files that grow by whole chunks, and go back to what was committed of them: nothing here remembers, all is told.

A local file grows aside (`plans.csv.writing`) and is moved into place when it is complete. Other stores cannot append:
there each chunk is an object of its own (`plans.csv.writing/` and its offset), and the file is made of them at the end.
Both can be gone on with from another machine that sees the same store.
"""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import BinaryIO, Protocol

from jobservice.batch.errors import FileLost
from jobservice.batch.stores import Place, sync, sync_directory

WRITING = ".writing"


class Growing(Protocol):
    """A file that is being written."""

    def begin(self, data: bytes) -> None:
        """A new one; what was left of another is lost."""

    def go_back(self, size: int) -> None:
        """It has `size` bytes, whatever was written behind them. Raises FileLost where it has less."""

    def append(self, size: int, data: bytes) -> None:
        """Behind `size` bytes; safe on the disk when this returns."""

    def complete(self, size: int) -> None:
        """It has its place and its name."""


def growing(place: Place) -> Growing:
    """As the store of the place can."""
    return LocalFile(place) if place.is_local else ChunkObjects(place)


class LocalFile:
    """Grows in place; each append is synced."""

    def __init__(self, place: Place) -> None:
        self._place = place
        self._aside = place.beside(WRITING)
        self._path = Path(self._aside.path)

    def begin(self, data: bytes) -> None:
        """Replaces what was left aside."""
        self._aside.make_directory()
        with self._path.open("wb") as stream:
            stream.write(data)
            sync(stream)
        sync_directory(self._aside.path)

    def go_back(self, size: int) -> None:
        """Also from a file that had its name already."""
        if not self._path.exists() and self._place.exists() and self._place.size() == size:
            self._place.move_to(self._aside)
        with self._open(size):
            pass

    def append(self, size: int, data: bytes) -> None:
        """Not by O_APPEND: the place of each chunk is known."""
        with self._open(size) as stream:
            stream.seek(size)
            stream.write(data)
            sync(stream)

    def complete(self, size: int) -> None:
        """Renamed."""
        with self._open(size):
            pass
        self._aside.move_to(self._place)

    def _open(self, size: int) -> BinaryIO:
        try:
            stream = self._path.open("r+b")
        except FileNotFoundError as error:
            raise FileLost(f"there is no file {self._path}, of which {size} bytes were committed") from error
        found = os.fstat(stream.fileno()).st_size
        if found < size:
            stream.close()
            raise FileLost(f"{self._path} has {found} bytes, {size} were committed")
        if found > size:
            stream.truncate(size)
            sync(stream)
        return stream


class ChunkObjects:
    """One object for each chunk, named by the offset at which it begins."""

    def __init__(self, place: Place) -> None:
        self._place = place
        self._aside = place.beside(WRITING)

    def begin(self, data: bytes) -> None:
        """Removes what was left aside."""
        self._aside.remove_tree()
        self._chunk(0).put(data)

    def go_back(self, size: int) -> None:
        """Removes the chunks that begin behind it. A file that has its name already is taken apart again."""
        chunks = self._chunks(size)
        if not chunks and self._place.exists() and self._place.size() == size:
            self._chunk(0).put(b"".join(self._place.blocks()))
            return
        self._check(chunks, size)

    def append(self, size: int, data: bytes) -> None:
        """An object that is there already is replaced: the same chunk, tried before."""
        self._chunk(size).put(data)

    def complete(self, size: int) -> None:
        """All chunks in their order make the file."""
        chunks = self._chunks(size)
        self._check(chunks, size)
        with self._place.written() as stream:
            for chunk in chunks:
                stream.write(b"".join(chunk.blocks()))
        self._aside.remove_tree()

    def _chunk(self, offset: int) -> Place:
        return self._aside.beside(f"/{offset:020d}")

    def _chunks(self, size: int) -> Sequence[Place]:
        """Those that begin before `size`, or at 0; others are removed."""
        kept = []
        for chunk in self._aside.children():
            if int(chunk.name) == 0 or int(chunk.name) < size:
                kept.append(chunk)
            else:
                chunk.remove()
        return kept

    def _check(self, chunks: Sequence[Place], size: int) -> None:
        end = 0
        for chunk in chunks:
            if int(chunk.name) != end:
                break
            end += chunk.size()
        if end != size or not chunks:
            raise FileLost(f"{self._aside.path} has {end} bytes in a row, {size} were committed")
