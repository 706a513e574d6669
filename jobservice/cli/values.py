"""Values as people write them on a command line: `name=value`, dates, durations, priorities."""

import json
import re
import sys
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, NoReturn

from jobservice.cli.exits import BadUsage
from jobservice.domain.names import PRIORITIES

_UNITS = {"s": 1, "m": 60, "h": 3_600, "d": 86_400, "w": 604_800}


def named_values(pairs: Iterable[str], option: str) -> dict[str, Any]:
    """`name=value` each; the value is JSON where it can be read so, else the string as it stands."""
    values: dict[str, Any] = {}
    for pair in pairs:
        name, equals, value = pair.partition("=")
        if not equals or not name:
            raise BadUsage(f"{option} {pair}: write name=value")
        if name in values:
            raise BadUsage(f"{option} {name} is given twice")
        values[name] = _json_or_text(value)
    return values


def json_object(source: str) -> dict[str, Any]:
    """The JSON object in a file, or on standard input for `-`."""
    try:
        text = sys.stdin.read() if source == "-" else Path(source).read_text("utf-8")
        value = _read_json(text)
    except OSError as error:
        raise BadUsage(f"{source} cannot be read: {error.strerror}") from error
    except (ValueError, RecursionError) as error:
        raise BadUsage(f"{source} is not JSON: {error}") from error
    if not isinstance(value, dict):
        raise BadUsage(f"{source} must hold a JSON object: parameter names and their values")
    return value


def moment(text: str, option: str) -> datetime:
    """A date with a zone (ISO 8601), or a duration from now, such as 15m."""
    if text[:1].isdigit() and text[-1:] in _UNITS:
        try:
            return datetime.now(UTC) + timedelta(seconds=duration(text, option))
        except OverflowError as error:
            raise BadUsage(f"{option} {text} is beyond the year 9999") from error
    try:
        date = datetime.fromisoformat(text)
    except ValueError as error:
        raise BadUsage(f"{option} {text}: write a date such as 2026-01-31T12:00:00Z, or a duration: 15m") from error
    if date.tzinfo is None:
        raise BadUsage(f"{option} {text} has no zone: add Z for UTC, or an offset such as +01:00")
    return date


def duration(text: str, option: str) -> float:
    """Seconds: a number, or a number with s, m, h, d or w; several in a row, such as 1h30m, add up."""
    if re.fullmatch(r"\d+(\.\d+)?", text):
        return float(text)
    if not re.fullmatch(r"(\d+(\.\d+)?[smhdw])+", text):
        raise BadUsage(f"{option} {text}: write seconds, or a duration such as 90s, 15m, 2h, 1d")
    return sum(float(number) * _UNITS[unit] for number, unit in re.findall(r"([\d.]+)([smhdw])", text))


def priority(text: str) -> int:
    """A whole number of 32 bits, or one of the five names."""
    if text.upper() in PRIORITIES:
        return PRIORITIES[text.upper()]
    if not re.fullmatch(r"[+-]?\d{1,10}", text) or not -(2**31) <= int(text) < 2**31:
        raise BadUsage(f"--priority {text}: write a whole number of 32 bits, or one of {', '.join(PRIORITIES)}")
    return int(text)


def _json_or_text(value: str) -> Any:
    try:
        return _read_json(value)
    except (ValueError, RecursionError):
        return value


def _read_json(text: str) -> Any:
    # NaN and Infinity are Python's own, no JSON: a parameter of that text stays text.
    return json.loads(text, parse_constant=_no_json)


def _no_json(constant: str) -> NoReturn:
    raise ValueError(f"{constant} is no JSON number")
