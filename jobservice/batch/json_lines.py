"""The format of files with one JSON value a line. Keys are the fields' names, or their aliases in a pydantic model."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from jobservice.batch.lines import Lines
from jobservice.batch.records import Problem, Records


@dataclass(frozen=True, slots=True)
class JsonLines:
    """Parser and format in one: there is no header."""

    records: Records
    quote: str | None = field(default=None, init=False)

    def parser(self, path: str, lines: Lines) -> "JsonLines":
        """Itself."""
        return self

    def rows(self, lines: Lines) -> Iterator[Any]:
        """Each line without its end, or its Problem."""
        return plain_rows(lines)

    def parse(self, rows: Sequence[Any]) -> list[Any]:
        """Each line as a record, or its Problem."""
        return [row if isinstance(row, Problem) else self.records.from_json(row) for row in rows]

    def head(self) -> str:
        """None."""
        return ""

    def text(self, items: Sequence[Any]) -> str:
        """The lines of some items."""
        return "".join(self.records.to_json(item).decode() + "\n" for item in items)


def plain_rows(lines: Lines) -> Iterator[Any]:
    """Each line without its end, or its Problem."""
    for line in lines:
        if lines.undecodable is not None:
            yield Problem(None, str(lines.undecodable))
            lines.undecodable = None
        else:
            yield line.rstrip("\r\n")
