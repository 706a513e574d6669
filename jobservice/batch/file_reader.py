"""Readers of files: CSV, TSV, lines of JSON, fixed width. Positions are byte offsets behind a record.

A reader belongs to a job class and keeps nothing of a run: what a run knows is in its position. docs/batch.md.
"""

import os
from collections.abc import Iterator, Mapping, Sequence
from itertools import islice
from typing import Any, Final, Protocol

from jobservice.batch.boundaries import count, cuts
from jobservice.batch.checksums import Checksum
from jobservice.batch.delimited import Delimited
from jobservice.batch.errors import BadRow, FileLost
from jobservice.batch.fixed_width import FixedWidth
from jobservice.batch.json_lines import JsonLines
from jobservice.batch.lines import Lines, checked_encoding
from jobservice.batch.patterns import expanded, names_parts
from jobservice.batch.records import Problem, Records
from jobservice.batch.stores import BLOCK, Place
from jobservice.sdk.steps import At, Range, StepContext

BATCH: Final = 256
"""Rows that are validated at once."""


class Parser(Protocol):
    """Of one file."""

    def rows(self, lines: Lines) -> Iterator[Any]:
        """Each record's texts, or its Problem, nothing for a blank line; `lines` then stands behind it."""

    def parse(self, rows: Sequence[Any]) -> list[Any]:
        """Each as a record, or its Problem."""


class Layout(Protocol):
    """Of all files of a reader."""

    @property
    def quote(self) -> str | None:
        """What makes newlines part of a field."""

    def parser(self, path: str, lines: Lines) -> Parser:
        """Reads what comes before the records."""

    def rows(self, lines: Lines) -> Iterator[Any]:
        """As that of the parser."""


class FileReader:
    """For `Chunk(read=…)`: `read`, `count`, and `plan` for parts. The subclasses say how the file is written."""

    needs_connection = False

    def __init__(
        self,
        path: str | os.PathLike[str],
        layout: Layout,
        *,
        encoding: str = "utf-8",
        checksum: Checksum | None = None,
        options: Mapping[str, Any] | None = None,
    ) -> None:
        self.path = os.fspath(path)
        self.layout = layout
        self.encoding = checked_encoding(encoding)
        self.checksum = checksum
        self.options = options

    def place(self, context: StepContext | Mapping[str, Any]) -> Place:
        """The file of this job, and of this part where the name says so."""
        return Place.of(expanded(self.path, context), self.options)

    def read(self, context: StepContext, after: int | None = None) -> Iterator[At]:
        """All records behind a position, of the part where there are parts; bad ones with their BadRow."""
        place, part = self.place(context), context.partition
        if after is None and part.low is None:
            self._verify(place)
        size = place.size()
        if max(after or 0, part.high or 0) > size:
            raise FileLost(f"{place.path} has {size} bytes: it was longer when it was read")
        with place.open() as stream:
            lines = Lines(stream, self.encoding)
            parser = self.layout.parser(place.path, lines)
            if (start := after if after is not None else part.low) is not None and start > lines.offset:
                stream.seek(start)
                lines = Lines(stream, self.encoding)
            yield from self._items(place, parser, lines, size if part.high is None else part.high)

    def count(self, context: StepContext) -> int:
        """How many records there are in the file or its part."""
        place, part = self.place(context), context.partition
        with place.open() as stream:
            start = self._begin(place, stream) if part.low is None else int(part.low)
            end = place.size() if part.high is None else int(part.high)
            return count(stream, self.layout, self.encoding, start=start, end=end)

    def plan(self, context: StepContext, parts: int) -> list[Range]:
        """Ranges of bytes that begin with a record; where each part has a file of its own, no ranges."""
        if names_parts(self.path, context):
            return [Range() for _ in range(parts)]
        place = self.place(context)
        self._verify(place)
        with place.open() as stream:
            start, size = self._begin(place, stream), place.size()
            found = cuts(stream, self.layout, self.encoding, start=start, size=size, parts=parts)
        return [Range(low, high) for low, high in found]

    def _verify(self, place: Place) -> None:
        if self.checksum is not None:
            self.checksum.verify(place)

    def _begin(self, place: Place, stream: Any) -> int:
        lines = Lines(stream, self.encoding)
        self.layout.parser(place.path, lines)
        return lines.offset

    def _items(self, place: Place, parser: Parser, lines: Lines, end: int) -> Iterator[At]:
        start = lines.offset
        rows = _with_ends(parser, lines, end)
        while batch := list(islice(rows, BATCH)):
            items = parser.parse([row for row, _, _ in batch])
            for item, (_, position, line) in zip(items, batch, strict=True):
                if isinstance(item, Problem):
                    number = _lines_before(place, start) + line
                    yield At(position, None, BadRow(place.path, number, item.field, item.text))
                else:
                    yield At(position, item)


def _with_ends(parser: Parser, lines: Lines, end: int) -> Iterator[tuple[Any, int, int]]:
    """(row, offset behind it, number of its first line from where reading began) up to `end`."""
    first = line = lines.count
    if lines.offset >= end:
        return
    for row in parser.rows(lines):
        if row:
            yield row, lines.offset, line - first + 1
        line = lines.count
        if lines.offset >= end:
            return


def _lines_before(place: Place, offset: int) -> int:
    """Told only when a row is bad: counted then."""
    total = 0
    with place.open() as stream:
        while offset > 0 and (block := stream.read(min(BLOCK, offset))):
            total += block.count(b"\n")
            offset -= len(block)
    return total


class CsvReader(FileReader):
    """Fields separated by a comma or another character, quoted where they must be. Newlines in fields are read."""

    def __init__(
        self,
        path: str | os.PathLike[str],
        record: Any = dict,
        *,
        delimiter: str = ",",
        header: bool = True,
        columns: Sequence[str] = (),
        **of_files: Any,
    ) -> None:
        """Without a header, columns are found by their positions, plain dicts by `columns`. The rest: FileReader."""
        super().__init__(path, Delimited(delimiter, Records(record), header, columns), **of_files)


class TsvReader(CsvReader):
    """Fields separated by tabs, quoted where they must be."""

    def __init__(self, path: str | os.PathLike[str], record: Any = dict, **more: Any) -> None:
        super().__init__(path, record, delimiter="\t", **more)


class JsonLinesReader(FileReader):
    """One JSON value a line."""

    def __init__(self, path: str | os.PathLike[str], record: Any = dict, **of_files: Any) -> None:
        super().__init__(path, JsonLines(Records(record)), **of_files)


class FixedWidthReader(FileReader):
    """Lines of fields with a width each: `Annotated[str, Column(width=10)]`."""

    def __init__(self, path: str | os.PathLike[str], record: Any, **of_files: Any) -> None:
        super().__init__(path, FixedWidth(Records(record)), **of_files)
