"""Names with values in them: `plans-{day:%Y%m%d}-{part:05d}.csv`, or `{day,yyyyMMdd}` and `{n,5#}`.

Values are the job's parameters, and `part` (also `n`) from 0 and `parts` of the partition. A text that is an ISO date
is one where a date is asked for. `{{` and `}}` are braces.
"""

import re
from collections.abc import Mapping
from datetime import date, datetime
from enum import Enum
from typing import Any

from jobservice.batch.errors import BatchError, UnknownName

_PLACE = re.compile(r"\{\{|\}\}|\{(\w+)(?::([^{}]*)|,([^{}]*))?\}")
_DATE_WORDS = {"yyyy": "%Y", "yy": "%y", "MM": "%m", "dd": "%d", "HH": "%H", "mm": "%M", "ss": "%S"}
_OF_PARTS = ("part", "n", "parts")


def expanded(pattern: str, context: Any) -> str:
    """The name for a StepContext, or for a mapping of values. Raises UnknownName."""

    def value(found: re.Match[str]) -> str:
        if found[1] is None:
            return found[0][0]
        return _formatted(pattern, _value(pattern, found[1], context), found[2], found[3])

    return _PLACE.sub(value, pattern)


def part_words(pattern: str) -> set[str]:
    """The words in it that may mean the part: `part`, `n`."""
    return {found[1] for found in _PLACE.finditer(pattern)} & {"part", "n"}


def names_parts(pattern: str, context: Any) -> bool:
    """Whether each partition has a name of its own: not by a word that is a parameter of the job."""
    return any(_of_job(word, context) is None for word in part_words(pattern))


def _value(pattern: str, name: str, context: Any) -> Any:
    if isinstance(context, Mapping):
        if name not in context:
            raise UnknownName(pattern, name)
        return context[name]
    if (value := _of_job(name, context)) is not None:
        return value
    if name in _OF_PARTS:
        return context.partition.count if name == "parts" else context.partition.index
    raise UnknownName(pattern, name)


def _of_job(name: str, context: Any) -> Any:
    """What the job has under a name, where that can stand in one; else None."""
    value = None if name.startswith("_") else getattr(context.job, name, None)
    if isinstance(value, Enum):
        return value.value
    is_plain = isinstance(value, str | int | float | date) or type(value).__name__ in ("UUID", "Decimal")
    return value if is_plain else None


def _formatted(pattern: str, value: Any, python: str | None, picture: str | None) -> str:
    try:
        if picture is None:
            return format(_dated(value) if python and "%" in python else value, python or "")
        if re.fullmatch(r"\d+#", picture):
            return f"{int(value):0{picture[:-1]}d}"
        if re.fullmatch(r"(?:yyyy|yy|MM|dd|HH|mm|ss|[-_.T])+", picture):
            spec = re.sub("yyyy|yy|MM|dd|HH|mm|ss", lambda word: _DATE_WORDS[word[0]], picture)
            return str(_dated(value).strftime(spec))
    except (ValueError, TypeError, AttributeError) as error:
        raise BatchError(f"{pattern!r}: {value!r} cannot be written so: {error}") from error
    raise BatchError(f"{pattern!r}: {picture!r} is neither a date (yyyyMMdd) nor a number of digits (5#)")


def _dated(value: Any) -> Any:
    return datetime.fromisoformat(value) if isinstance(value, str) else value
