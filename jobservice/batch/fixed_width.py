"""The format of files whose fields have a width: `Annotated[str, Column(width=10)]`, counted in characters."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any

from jobservice.batch.column import Field
from jobservice.batch.delimited import Delimited, DelimitedParser
from jobservice.batch.json_lines import plain_rows
from jobservice.batch.lines import Lines
from jobservice.batch.records import Problem, Records, texts_of
from jobservice.domain.errors import DefinitionError


@dataclass(frozen=True, slots=True)
class FixedWidth:
    """Texts stand left and numbers right where `align` says nothing; what fills a field up is no part of its value."""

    records: Records
    quote: str | None = field(default=None, init=False)

    def __post_init__(self) -> None:
        without = [each.name for each in self.records.fields if not each.column.width]
        if without or not self.records.fields:
            raise DefinitionError(
                f"fixed width: each field of the record needs Column(width=…); without: {', '.join(without) or 'all'}"
            )

    def parser(self, path: str, lines: Lines) -> "FixedWidthParser":
        """There is no header to read."""
        return FixedWidthParser(self.records)

    def rows(self, lines: Lines) -> Iterator[Any]:
        """Each line without its end, or its Problem."""
        return plain_rows(lines)

    def head(self) -> str:
        """None."""
        return ""

    def text(self, items: Sequence[Any]) -> str:
        """The lines of some items. Raises ValueError for a value that is too wide, or would not be read back."""
        fields = self.records.fields
        texts = texts_of(fields, [each.name for each in fields])
        return "".join(
            "".join(_filled(each, text) for each, text in zip(fields, texts(item), strict=True)) + "\n"
            for item in items
        )


class FixedWidthParser:
    """Cuts lines up; the rest is as with other texts."""

    rows = staticmethod(plain_rows)

    def __init__(self, records: Records) -> None:
        self._cuts: list[tuple[int, int, bool, str]] = []
        end = 0
        for each in records.fields:
            start, end = end, end + (each.column.width or 0)
            self._cuts.append((start, end, _is_right(each), each.column.fill))
        self._width = end
        self._inner = DelimitedParser(Delimited("\0", records), list(records.fields))

    def parse(self, rows: Sequence[Any]) -> list[Any]:
        """Each line as a record, or its Problem."""
        return self._inner.parse([row if isinstance(row, Problem) else self._cut(row) for row in rows])

    def _cut(self, line: str) -> Any:
        if len(line) != self._width:
            return Problem(None, f"{len(line)} characters in the place of {self._width}")
        return [
            (line[start:end].lstrip(fill) if right else line[start:end].rstrip(fill)) or fill.replace(" ", "")
            for start, end, right, fill in self._cuts
        ]


def _is_right(field: Field) -> bool:
    if field.column.align is not None:
        return field.column.align == "right"
    return _is_number(field)


def _is_number(field: Field) -> bool:
    return field.kind in (int, float, Decimal)


def _filled(field: Field, text: str) -> str:
    width, fill, right = field.column.width or 0, field.column.fill, _is_right(field)
    if len(text) > width or "\n" in text or "\r" in text:
        raise ValueError(f"field {field.name}: {text[:80]!r} does not fit into {width} characters of one line")
    if text and (text[0] if right else text[-1]) == fill and not _is_number(field):
        raise ValueError(f"field {field.name}: what is at the edge of {text!r} would not be read back")
    return text.rjust(width, fill) if right else text.ljust(width, fill)
