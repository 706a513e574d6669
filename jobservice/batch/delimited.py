"""The format of files whose fields are separated by a character and quoted where they must be: CSV and TSV."""

import csv
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from jobservice.batch.column import Column, Field
from jobservice.batch.errors import HeaderMismatch
from jobservice.batch.lines import Lines
from jobservice.batch.records import Parse, Problem, Records, parse_of, texts_of
from jobservice.domain.errors import DefinitionError

FIELD_MAX = 16 * 1024 * 1024
"""Characters: a quote that is never closed would make one field of all that follows."""
csv.field_size_limit(max(FIELD_MAX, csv.field_size_limit()))


@dataclass(frozen=True, slots=True)
class Delimited:
    """How such a file is written, and its record."""

    delimiter: str
    records: Records
    header: bool = True
    columns: Sequence[str] = ()
    """The names of the columns where records are plain dicts."""
    quote: str | None = field(default='"', init=False)

    def __post_init__(self) -> None:
        if len(self.delimiter) != 1 or self.delimiter in '"\r\n':
            raise DefinitionError(f"a delimiter is one character, and no quote or newline: not {self.delimiter!r}")

    def parser(self, path: str, lines: Lines) -> "DelimitedParser":
        """Reads the header, where there is one. Raises HeaderMismatch."""
        fields, names = self.records.fields, list(self.columns)
        if not self.header:
            if not fields and not names:
                raise DefinitionError(f"{path}: plain dicts without a header need `columns`")
            return DelimitedParser(self, _placed(fields) if fields else [_plain(name) for name in names])
        heading = next((row for row in self.rows(lines) if row), None)
        if heading is None:
            return DelimitedParser(self, [])  # an empty file: no records
        if isinstance(heading, Problem):
            raise HeaderMismatch(f"{path}: the header cannot be read: {heading.text}")
        return DelimitedParser(self, _matched(path, heading, fields))

    def rows(self, lines: Lines) -> Iterator[Any]:
        """The texts of each record, or its Problem; none of a blank line. `lines` stands behind it."""
        reader = csv.reader(lines, delimiter=self.delimiter, strict=True)
        while True:
            begin = lines.count
            try:
                for row in reader:
                    begin = lines.count
                    if lines.undecodable is not None:
                        yield Problem(None, str(lines.undecodable))
                        lines.undecodable = None
                    else:
                        yield row
                return
            except csv.Error as error:
                lines.undecodable = None
                yield Problem(None, _in_words(error, lines.count - begin))

    def head(self) -> str:
        """The header, as a writer begins its file."""
        return "".join(_written([self.names], self.delimiter)) if self.header else ""

    @property
    def names(self) -> list[str]:
        """The columns as a header shows them. Raises DefinitionError where a writer has none."""
        names = [each.heading for each in self.records.fields] or list(self.columns)
        if not names:
            raise DefinitionError("a writer needs a record, or `columns` where its items are plain dicts")
        return names

    def text(self, items: Sequence[Any]) -> str:
        """The lines of some items."""
        fields = self.records.fields
        texts = texts_of(fields, [each.name for each in fields] or list(self.columns))
        return "".join(_written([texts(item) for item in items], self.delimiter))


class DelimitedParser:
    """For the columns of one file."""

    def __init__(self, layout: Delimited, columns: Sequence[Field | None]) -> None:
        self.rows = layout.rows
        self._records = layout.records
        self._width = len(columns)
        self._places = [(place, each) for place, each in enumerate(columns) if each is not None]
        self._keys = [each.key for _, each in self._places]
        self._straight = len(self._places) == len(columns)
        self._special: list[tuple[Field, Parse | None]] = [
            (each, parse_of(each))
            for _, each in self._places
            if each.column.format is not None or each.nullable or (not each.required and each.kind is not str)
        ]

    def parse(self, rows: Sequence[Any]) -> list[Any]:
        """Each row as a record, or its Problem."""
        return self._records.validated([row if isinstance(row, Problem) else self._named(row) for row in rows])

    def _named(self, row: list[str]) -> Any:
        if len(row) != self._width:
            return Problem(None, f"{len(row)} fields in the place of {self._width}")
        named: dict[str, Any] = dict(
            zip(self._keys, row if self._straight else [row[place] for place, _ in self._places], strict=True)
        )
        for each, parse in self._special:
            text = named[each.key]
            if not text and (each.nullable or not each.required):
                named[each.key] = None
                if not each.nullable:
                    del named[each.key]  # its default
            elif parse is not None:
                try:
                    named[each.key] = parse(text)
                except ValueError as error:
                    return Problem(each.heading, str(error))
        return named


def _in_words(error: csv.Error, lines: int) -> str:
    """What csv says is about its own programming interface."""
    told = str(error)
    if told == "unexpected end of data":
        return f"a quote is not closed: it takes in the {lines:,} lines up to the end of the file"
    if told.startswith("new-line character seen"):
        return "a carriage return stands alone in a field without quotes"
    return told


def _written(rows: Sequence[Sequence[str]], delimiter: str) -> list[str]:
    # A lone carriage return is quoted only where the line end has one (Python 3.11, 3.12): it is cut off afterwards.
    lines: list[str] = []
    writer = csv.writer(_Appending(lines), delimiter=delimiter, lineterminator="\r\n")
    writer.writerows(rows)
    return [line[:-2] + "\n" for line in lines]


class _Appending:
    def __init__(self, lines: list[str]) -> None:
        self.write = lines.append


def _placed(fields: Sequence[Field]) -> list[Field | None]:
    """The columns of a file without header: a field with a position is there, others where they are left."""
    columns: list[Field | None] = []
    for each in fields:
        while each.column.position is not None and len(columns) < each.column.position - 1:
            columns.append(None)
        columns.append(each)
    return columns


def _matched(path: str, heading: Sequence[str], fields: Sequence[Field]) -> list[Field | None]:
    doubled = sorted({name for name in heading if heading.count(name) > 1})
    if doubled:
        raise HeaderMismatch(f"{path}: columns are there twice: {', '.join(doubled)}")
    if not fields:
        return [_plain(name) for name in heading]
    by_heading = {each.heading: each for each in fields}
    columns = [by_heading.get(name) for name in heading]
    absent = [each for each in fields if each not in columns]
    unknown = [name for name in heading if name not in by_heading]
    # A column that nobody asked for may stand for a field that is left to its default: misspelt.
    if any(each.required for each in absent) or (absent and unknown):
        raise HeaderMismatch(
            f"{path}: the header has no {', '.join(each.heading for each in absent)}; it has: {', '.join(heading)}"
        )
    return columns


def _plain(name: str) -> Field:
    return Field(name, name, str, nullable=False, required=True, column=Column())
