"""Turns the texts of a file into records and back. Made once for a reader or a writer; works on many rows at a time."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime, time
from enum import Enum
from functools import lru_cache
from operator import attrgetter
from typing import Any

from pydantic import TypeAdapter, ValidationError

from jobservice.batch.column import Field, fields_of

Parse = Callable[[str], Any]
Render = Callable[[Any], Any]


@dataclass(frozen=True, slots=True)
class Problem:
    """Why a row is no record."""

    field: str | None
    text: str


class Records:
    """Of one record type; `dict` or None means plain dicts of texts."""

    def __init__(self, record: Any) -> None:
        self.record = None if record is dict else record
        self.fields: tuple[Field, ...] = () if self.record is None else fields_of(self.record)
        self._one: TypeAdapter[Any] = TypeAdapter(self.record or dict[str, Any])
        self._many: TypeAdapter[Any] = TypeAdapter(list[self.record])  # type: ignore[name-defined]
        self._headings = {each.key: each.heading for each in self.fields}
        self._headings |= {each.name: each.heading for each in self.fields}

    # Reading.

    def validated(self, rows: Sequence[Any]) -> list[Any]:
        """Each row, a dict, as a record, or its Problem. All at once, and singly only where one of them is bad."""
        if self.record is None:
            return list(rows)
        if not any(isinstance(row, Problem) for row in rows):
            try:
                return list(self._many.validate_python(rows))
            except ValidationError:
                pass
        return [row if isinstance(row, Problem) else self._validated(row) for row in rows]

    def from_json(self, line: str) -> Any:
        """A line of JSON as a record, or its Problem."""
        try:
            return self._one.validate_json(line)
        except ValidationError as error:
            return self._problem(error)

    def _validated(self, row: Any) -> Any:
        try:
            return self._one.validate_python(row)
        except ValidationError as error:
            return self._problem(error)

    def _problem(self, error: ValidationError) -> Problem:
        first = error.errors(include_url=False)[0]
        name = str(first["loc"][0]) if first["loc"] else None
        given = "" if not name else f", not {str(first['input'])[:80]!r}"
        return Problem(self._headings.get(name, name) if name else None, first["msg"] + given)

    # Writing.

    def to_json(self, item: Any) -> bytes:
        """A record, or any value, as a line of JSON."""
        if self.record is not None and isinstance(item, Mapping):
            item = self._one.validate_python(dict(item))
        if self.record is None:
            return _ANYTHING.dump_json(dict(item) if isinstance(item, Mapping) else item)
        return self._one.dump_json(item)


_ANYTHING: TypeAdapter[Any] = TypeAdapter(Any)


def parse_of(field: Field) -> Parse | None:
    """How a text becomes what the validator takes; None where it takes the text itself."""
    pattern, kind = field.column.format, field.kind
    if pattern is None:
        return None
    if kind is date:
        return lru_cache(4096)(lambda text: datetime.strptime(text, pattern).date())  # noqa: DTZ007 - as the file has it
    if kind is datetime:
        return lru_cache(4096)(lambda text: datetime.strptime(text, pattern))  # noqa: DTZ007
    if kind is time:
        return lru_cache(4096)(lambda text: datetime.strptime(text, pattern).time())  # noqa: DTZ007
    if kind is bool:
        return lambda text: _truth(pattern, text)
    return None


def _truth(pattern: str, text: str) -> bool:
    true, _, false = pattern.partition("/")
    if text not in (true, false):
        raise ValueError(f"should be {true} or {false}, not {text[:80]!r}")
    return text == true


def render_of(field: Field) -> Render:
    """How a value becomes a text."""
    pattern, kind = field.column.format, field.kind
    if pattern is None:
        return render
    if kind is bool:
        true, _, false = pattern.partition("/")
        return lambda value: "" if value is None else true if value else false
    if isinstance(kind, type) and issubclass(kind, date | time):
        return lambda value: "" if value is None else value.strftime(pattern)
    return lambda value: "" if value is None else format(value, pattern)


def render(value: Any) -> str:
    """Any value as a text that the validators read back."""
    kind = type(value)
    if kind is str:
        return str(value)
    if kind is int:
        return int.__repr__(value)
    if value is None:
        return ""
    if kind is bool:
        return "true" if value else "false"
    if isinstance(value, date | time):
        return value.isoformat()
    if isinstance(value, Enum):
        return render(value.value)
    return str(value)


def texts_of(fields: Sequence[Field], names: Sequence[str]) -> Callable[[Any], list[str]]:
    """A function that gives the texts of an item: a record's, or a mapping's by these names."""
    renders = [render_of(each) for each in fields] or [render] * len(names)
    of_object = attrgetter(*names) if len(names) > 1 else lambda item: (getattr(item, names[0]),)

    def texts(item: Any) -> list[str]:
        values = [item.get(name) for name in names] if isinstance(item, Mapping) else of_object(item)
        return [turn(value) for turn, value in zip(renders, values, strict=True)]

    return texts
