"""Puts the files of a step's parts together, in the order of the parts, with one header: `aggregate=merge(writer)`."""

from collections.abc import Callable, Sequence

from jobservice.batch.errors import BatchError, FileLost
from jobservice.batch.file_writer import FILES, FileWriter
from jobservice.batch.patterns import expanded, names_parts, part_words
from jobservice.batch.stores import BLOCK, Place
from jobservice.domain.errors import DefinitionError
from jobservice.sdk.steps import PartResult, StepContext

Aggregate = Callable[[StepContext, Sequence[PartResult]], str]


def merge(writer: FileWriter, to: str | None = None) -> Aggregate:
    """A function for `aggregate`: one file of all parts, its checksum, no part files left.

    The file is the writer's own, or `to` where the writer names its parts. The whole is written aside and moved into
    place before any part is removed: called again after a crash, it ends what it began.
    """
    target = to or writer.path
    nameless = f"{target}: the merged file of a writer that names its parts needs a name: merge(…, to=…)"
    if "part" in part_words(target):
        raise DefinitionError(nameless)

    def merged(context: StepContext, parts: Sequence[PartResult]) -> str:
        if names_parts(target, context):
            raise DefinitionError(nameless)
        place = writer.place(expanded(target, context))
        pieces = [_piece(writer, part) for part in sorted(parts, key=lambda part: part.index)]
        size = len(writer.head) + sum(end - len(writer.head) for _, end in pieces)
        if [piece.path for piece, _ in pieces] != [place.path]:
            if not _is_done(place, size, pieces):
                _join(writer, place, pieces)
            if writer.checksum is not None:
                writer.checksum.write(place)
            for piece, _ in pieces:
                piece.remove()
                if writer.checksum is not None:
                    writer.checksum.sidecar(piece).remove()
        return f"{place.path}: {size} bytes of {len(pieces)} parts"

    return merged


def _piece(writer: FileWriter, part: PartResult) -> tuple[Place, int]:
    known = part.state.get(FILES, {}).get(writer.path)
    if known is None:
        raise BatchError(f"part {part.index} has written no file of {writer.path}")
    return writer.place(known[0]), int(known[1])


def _is_done(place: Place, size: int, pieces: Sequence[tuple[Place, int]]) -> bool:
    """Parts are removed only behind a merge that was done."""
    if all(piece.exists() for piece, _ in pieces):
        return False
    if not place.exists() or place.size() != size:
        raise FileLost(f"{place.path} is not complete, and parts of it are gone")
    return True


def _join(writer: FileWriter, place: Place, pieces: Sequence[tuple[Place, int]]) -> None:
    with place.written(".merging") as whole:
        whole.write(writer.head)
        for piece, size in pieces:
            if piece.size() != size:
                raise FileLost(f"{piece.path} has {piece.size()} bytes, {size} were committed")
            with piece.open() as stream:
                stream.seek(len(writer.head))
                while block := stream.read(BLOCK):
                    whole.write(block)
