"""Owns how Python values become JSON that PostgreSQL can hold, exactly or not at all.

Called for parameters and metadata at submission and for results at the end of a run. It never writes a value that
reads back as another: NaN does not become null, a file name with undecodable bytes does not lose them, an integer of
any size keeps its digits.
"""

import dataclasses
import json
import math
from pathlib import PurePath
from typing import Any, Final

from pydantic_core import to_jsonable_python

PARAMETERS_DEPTH_MAX: Final = 64
"""Objects and arrays inside each other, the outermost counted: the limit of every door."""
RESULT_DEPTH_MAX: Final = 200
"""pydantic's own JSON reader goes no deeper, and a result is there to be read back."""

_ENCODER: Final = json.JSONEncoder(ensure_ascii=False, allow_nan=False, separators=(",", ":"))
"""Made once: `json.dumps` makes one for each value."""


class NotJson(ValueError):
    """A value that JSON (as PostgreSQL holds it) cannot carry; `where` is its path inside the whole."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason
        self.path: list[str] = []

    @property
    def where(self) -> str:
        """The path from the outermost value, like `.files[3].size`; empty for that value itself."""
        return "".join(reversed(self.path))

    def __str__(self) -> str:
        return f"{self.reason} (at {self.where})" if self.path else self.reason


def to_plain(value: Any, max_depth: int) -> Any:
    """`value` as dicts, lists, strings, finite numbers, booleans and None. Raises NotJson."""
    try:
        return _plain(value, max_depth)
    except RecursionError:
        raise NotJson("nested too deep, or inside itself") from None


def dump(plain: Any) -> str:
    """JSON text of what `to_plain` returned; integers keep every digit. Raises NotJson."""
    try:
        return _ENCODER.encode(plain)
    except ValueError as error:  # an integer longer than Python writes out
        raise NotJson(str(error)) from None


def _plain(value: Any, depth: int) -> Any:
    kind = type(value)
    if value is None or kind is bool or kind is int:
        return value
    if kind is str:
        return _text(value)
    if kind is float:
        return _finite(value)
    if kind is dict:
        return _object(value, depth)
    if kind in (list, tuple, set, frozenset):
        return _array(value, depth)
    if isinstance(value, PurePath):
        return _text(str(value))
    if _is_plain_dataclass(value):
        return _object({field.name: getattr(value, field.name) for field in dataclasses.fields(value)}, depth)
    return _by_pydantic(value, depth)


def _text(value: str) -> str:
    if "\x00" in value:
        raise NotJson("a NUL character cannot be stored")
    if not value.isascii():
        try:
            value.encode()
        except UnicodeEncodeError:
            raise NotJson("a lone surrogate (undecodable bytes of a file name?) cannot be stored") from None
    return value


def _finite(value: float) -> float:
    if not math.isfinite(value):
        raise NotJson(f"the number {value} is not finite")
    return value


def _object(value: dict[Any, Any], depth: int) -> dict[str, Any]:
    _check_depth(depth)
    plain = {}
    for key, member in value.items():
        name = _key(key)
        try:
            plain[name] = _plain(member, depth - 1)
        except NotJson as error:
            error.path.append(f".{name}")
            raise
    return plain


def _array(value: Any, depth: int) -> list[Any]:
    _check_depth(depth)
    plain = []
    for index, member in enumerate(value):
        try:
            plain.append(_plain(member, depth - 1))
        except NotJson as error:
            error.path.append(f"[{index}]")
            raise
    return plain


def _key(key: Any) -> str:
    if type(key) is str:
        return _text(key)
    if isinstance(key, PurePath):
        return _text(str(key))
    name: str = next(iter(_jsonable({key: None})))
    return _text(name)


def _check_depth(depth: int) -> None:
    if depth <= 0:
        raise NotJson("nested too deep")


def _is_plain_dataclass(value: Any) -> bool:
    # One made by pydantic may have serialisers of its own.
    return (
        dataclasses.is_dataclass(value)
        and not isinstance(value, type)
        and not hasattr(value, "__pydantic_serializer__")
    )


def _by_pydantic(value: Any, depth: int) -> Any:
    plain = _jsonable(value)
    # What pydantic leaves as it was is JSON's own type by now; only its contents are still unchecked.
    return _plain(plain, depth)


def _jsonable(value: Any) -> Any:
    try:
        return to_jsonable_python(value)
    except UnicodeError:
        raise NotJson(f"a {type(value).__name__} holds bytes that are not UTF-8, or a lone surrogate") from None
    except ValueError as error:
        raise NotJson(str(error)) from None
