"""Files that grow by whole chunks, and go back to what was committed of them: nothing here remembers, all is told.

Each run writes a piece of its own, aside (`plans.csv.writing/`, named by job and run), and goes on where the pieces of
earlier runs end. So a run that lost its lease and does not know it yet can harm nothing: nobody reads its piece behind
what it has committed. At the end the pieces are put together, or the only one is moved into place.

A local piece is a file that is synced with each chunk. Other stores cannot append: there each chunk is an object.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from jobservice.batch.errors import FileLost
from jobservice.batch.stores import BLOCK, Place, sync, sync_directory

WRITING = ".writing"
WHOLE = ""
"""The owner of what is in place already."""


@dataclass(slots=True)
class Growing:
    """A file that is being written: `size` bytes are told to be committed, of pieces (from, owner) in their order."""

    place: Place
    size: int
    pieces: list[tuple[int, str]]

    def begin(self, owner: str, data: bytes) -> None:
        """A new one."""
        self.pieces = [(0, owner)]
        self.size = 0
        self._last.cut(0)
        self.append(data)

    def go_on(self, owner: str) -> None:
        """Behind `size`, whatever was written there. Raises FileLost where less is left of what was committed."""
        if not self._are_whole():
            if not self.place.exists() or self.place.size() != self.size:
                raise FileLost(f"{self.place.path}: {self.size} bytes were committed, and not all of them are left")
            self.pieces = [(0, WHOLE)]  # the run was lost behind its end
        if self.pieces[-1][1] != owner:
            self.pieces = [(start, by) for start, by in self.pieces if start < self.size] + [(self.size, owner)]
        self._last.cut(self.size - self.pieces[-1][0])

    def append(self, data: bytes) -> None:
        """It is safe when this returns."""
        start, _ = self.pieces[-1]
        self._last.append(self.size - start, data)
        self.size += len(data)

    def complete(self) -> None:
        """It has its place and its name; nothing is left aside."""
        wanted = [(piece, size) for piece, size in self._wanted() if size]
        if not self._are_whole():
            raise FileLost(f"{self.place.path}: {self.size} bytes were committed, and not all of them are left")
        if len(wanted) == 1 and isinstance(wanted[0][0], LocalPiece):
            wanted[0][0].become(self.place)
        elif [piece.place.path for piece, _ in wanted] != [self.place.path]:
            with self.place.written() as stream:
                for piece, size in wanted:
                    for block in piece.blocks(size):
                        stream.write(block)
        self.place.beside(WRITING).remove_tree()

    def _are_whole(self) -> bool:
        return all(piece.size() >= size for piece, size in self._wanted())

    def _wanted(self) -> "list[tuple[Piece, int]]":
        ends = [start for start, _ in self.pieces[1:]] + [self.size]
        return [(self._piece(owner), end - start) for (start, owner), end in zip(self.pieces, ends, strict=True)]

    @property
    def _last(self) -> "Piece":
        return self._piece(self.pieces[-1][1])

    def _piece(self, owner: str) -> "Piece":
        if owner == WHOLE:
            return LocalPiece(self.place) if self.place.is_local else ObjectPiece(self.place)
        aside = self.place.beside(f"{WRITING}/{owner}")
        return LocalPiece(aside) if aside.is_local else ChunkPiece(aside)


class LocalPiece:
    """A file."""

    def __init__(self, place: Place) -> None:
        self.place = place
        self._path = Path(place.path)

    def size(self) -> int:
        """0 where there is none."""
        return self._path.stat().st_size if self._path.exists() else 0

    def cut(self, size: int) -> None:
        """It has `size` bytes."""
        if not self._path.exists():
            self.place.make_directory()
            self._path.touch()
            sync_directory(self.place.path)
            sync_directory(str(self._path.parent))
        with self._path.open("r+b") as stream:
            stream.truncate(size)
            sync(stream)

    def append(self, size: int, data: bytes) -> None:
        """Not by O_APPEND: the place of each chunk is known."""
        with self._path.open("r+b") as stream:
            stream.seek(size)
            stream.write(data)
            sync(stream)

    def blocks(self, size: int) -> Iterator[bytes]:
        """Its first `size` bytes."""
        with self._path.open("rb") as stream:
            while size > 0 and (block := stream.read(min(BLOCK, size))):
                yield block
                size -= len(block)

    def become(self, place: Place) -> None:
        """Moved into place; what is there is replaced."""
        if self.place.path != place.path:
            self.place.move_to(place)


class ChunkPiece:
    """One object for each chunk, named by the offset at which it begins."""

    def __init__(self, place: Place) -> None:
        self.place = place

    def size(self) -> int:
        """Of the chunks that stand in a row."""
        end = 0
        for chunk in self.place.children():
            if int(chunk.name) != end:
                break
            end += chunk.size()
        return end

    def cut(self, size: int) -> None:
        """Chunks are removed that begin behind it."""
        for chunk in self.place.children():
            if int(chunk.name) >= size:
                chunk.remove()

    def append(self, size: int, data: bytes) -> None:
        """An object that is there already is replaced: the same chunk, tried before."""
        self.place.beside(f"/{size:020d}").put(data)

    def blocks(self, size: int) -> Iterator[bytes]:
        """Of the chunks that begin before `size`."""
        for chunk in self.place.children():
            if int(chunk.name) < size:
                yield from chunk.blocks()


class ObjectPiece:
    """A whole file in a store that cannot append: only read."""

    def __init__(self, place: Place) -> None:
        self.place = place

    def size(self) -> int:
        """0 where there is none."""
        return self.place.size() if self.place.exists() else 0

    def cut(self, size: int) -> None:
        """It is what was committed."""

    def append(self, size: int, data: bytes) -> None:
        """Never: who goes on has a piece of its own."""
        raise FileLost(f"{self.place.path} is complete")

    def blocks(self, size: int) -> Iterator[bytes]:
        """All."""
        return self.place.blocks()


Piece = LocalPiece | ChunkPiece | ObjectPiece
