"""What is printed: a table on a terminal, plain lines into a pipe, JSON when asked for. Data only, on stdout only."""

import dataclasses
import json
import sys
import unicodedata
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, date, datetime
from enum import Enum
from pathlib import PurePath
from typing import Any
from uuid import UUID

from rich.console import Console, RenderableType
from rich.measure import Measurement
from rich.table import Table
from rich.text import Text

Row = Mapping[str, Any]

_COLOURS = {
    "PENDING": "yellow",
    "QUEUED": "cyan",
    "TO_BE_RUN": "blue",
    "RUNNING": "bright_blue",
    "SUCCEEDED": "green",
    "FAILED": "red",
    "ABORTED": "magenta",
}


_HEADINGS = {"percent_completed": "%", "created_date": "created", "start_date": "start", "end_date": "end"}
"""Where the column's name would be wider than what is in it."""
_FREE_TEXT = frozenset({"finding", "advice", "error_message", "reason", "queues", "http_url", "filter"})
"""Columns that may go over several lines; an id that is cut cannot be copied."""
_UNBROKEN = 10_000
"""Characters of a line into a pipe: whoever reads it there wants whole lines."""


class Output:
    """One command's way of printing. The same call gives the same data in each of the three forms."""

    def __init__(self, *, as_json: bool) -> None:
        self.as_json = as_json
        self._terminal = sys.stdout.isatty()

    def rows(self, rows: Sequence[Row], columns: Sequence[str]) -> None:
        """A list. As JSON each row has all its fields; a table and plain lines show `columns`."""
        if self.as_json:
            self.document([dict(row) for row in rows])
        elif self._terminal:
            self._table(rows, columns)
        else:
            self._lines([columns, *([_cell(row.get(column)) for column in columns] for row in rows)])

    def record(self, record: Row) -> None:
        """One thing, a line for each field that has a value."""
        if self.as_json:
            self.document(record)
            return
        filled = {name: value for name, value in record.items() if value not in (None, {}, [], "")}
        if self._terminal:
            self._pairs(filled)
        else:
            self._lines([name, _cell(value)] for name, value in filled.items())

    def document(self, value: Any) -> None:
        """One JSON document: indented for a reader, on one line for a program."""
        _write(encode(value, indent=2 if self._terminal else None))

    def line(self, value: Any) -> None:
        """One JSON object on one line, and at once: for live output."""
        _write(encode(value))

    def text(self, text: str) -> None:
        """One line of text, such as an id."""
        _write(text)

    def drawing(self, drawing: RenderableType) -> None:
        """A tree or the like, for people."""
        screen().print(drawing)

    def _table(self, rows: Sequence[Row], columns: Sequence[str]) -> None:
        table = Table(box=None, pad_edge=False, header_style="bold")
        for column in columns:
            heading = _HEADINGS.get(column, column.replace("_", " "))
            table.add_column(heading, no_wrap=column not in _FREE_TEXT, overflow="fold")
        for row in rows:
            table.add_row(*(coloured(_in_table(row.get(column))) for column in columns))
        console = Console()
        needed = Measurement.get(console, console.options.update_width(_UNBROKEN), table)
        # Where the window is too narrow the terminal breaks the lines: a table that is made to fit loses half its ids.
        Console(width=console.width if needed.minimum <= console.width else needed.maximum).print(table)

    def _pairs(self, record: Row) -> None:
        table = Table(box=None, pad_edge=False, show_header=False)
        table.add_column(style="bold")
        table.add_column(overflow="fold")
        for name, value in record.items():
            table.add_row(name.replace("_", " "), coloured(value, keep_lines=True))
        Console().print(table)

    def _lines(self, lines: Iterable[Iterable[str]]) -> None:
        for line in lines:
            _write("\t".join(line))


def screen() -> Console:
    """The terminal in its width; into a pipe no line is broken."""
    console = Console()
    return console if console.is_terminal else Console(width=_UNBROKEN)


def encode(value: Any, indent: int | None = None) -> str:
    """JSON text of what the service tells; integers of any size keep their digits."""
    return json.dumps(value, default=_plain, ensure_ascii=False, indent=indent)


def fields_of(thing: Any) -> dict[str, Any]:
    """A dataclass's public fields, as they are."""
    return {field.name: getattr(thing, field.name) for field in dataclasses.fields(thing) if field.name[0] != "_"}


def short_date(moment: datetime | None) -> str:
    """A date as a person at a terminal reads it: local time, whole seconds."""
    return moment.astimezone().strftime("%Y-%m-%d %H:%M:%S") if moment else ""


def _in_table(value: Any) -> Any:
    """A date of today by its time alone: rows are narrow."""
    if isinstance(value, datetime):
        here, now = value.astimezone(), datetime.now(UTC).astimezone()
        return here.strftime("%H:%M:%S") if here.date() == now.date() else here.strftime("%Y-%m-%d %H:%M")
    return value


def _plain(value: Any) -> Any:
    if isinstance(value, datetime):
        return value.astimezone(UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return fields_of(value)
    if isinstance(value, Mapping):
        return dict(value)
    if isinstance(value, set | frozenset):
        return sorted(value)
    if isinstance(value, Enum):
        return value.value
    if isinstance(value, UUID | PurePath | date):
        return str(value)
    raise TypeError(f"{type(value).__name__} is no JSON value")


def _cell(value: Any) -> str:
    return printable(_words(value))


def _words(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, datetime):
        return short_date(value)
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, list | tuple) and all(isinstance(member, str) for member in value):
        return ", ".join(value)
    if isinstance(value, Mapping | list | tuple):
        return encode(value)
    return str(value)


def coloured(value: Any, *, keep_lines: bool = False) -> Text:
    """A value for a terminal; a status has its colour."""
    text = printable(_words(value), keep="\n\t" if keep_lines else "")
    return Text(text, style=_COLOURS.get(text, ""))


def printable(text: str, keep: str = "") -> str:
    """The text without control characters: a description may hold what would move the cursor or fake a line."""
    return "".join(c if c in keep or unicodedata.category(c) not in ("Cc", "Cs") else " " for c in text)


def _write(text: str) -> None:
    # A file name may hold bytes that are no text; data with a mark in it is better than none.
    encoding = sys.stdout.encoding or "utf-8"
    sys.stdout.write(text.encode(encoding, "backslashreplace").decode(encoding) + "\n")
    sys.stdout.flush()
