"""Owns what becomes of the value that a job returns: JSON text and the name of its class."""

from typing import Any

from jobservice.domain.errors import JobError
from jobservice.sdk.json_values import RESULT_DEPTH_MAX, NotJson, dump, to_plain


class ResultNotEncodable(JobError):
    """What the job returned cannot be stored as JSON; the text says where and why."""

    def __init__(self, result_class: str, reason: str) -> None:
        super().__init__(f"the result ({result_class}) cannot be stored as JSON: {reason}")
        self.result_class = result_class
        self.reason = reason


def encode_result(value: Any) -> tuple[str | None, str | None]:
    """The JSON text of a result and its class's name; `(None, None)` for None. Raises ResultNotEncodable."""
    if value is None:
        return None, None
    result_class = qualified_name(type(value))
    try:
        return dump(to_plain(value, RESULT_DEPTH_MAX)), result_class
    except NotJson as error:
        raise ResultNotEncodable(result_class, str(error)) from None


def qualified_name(cls: type) -> str:
    """`package.module.Class`; just the name for what is built in."""
    return cls.__qualname__ if cls.__module__ == "builtins" else f"{cls.__module__}.{cls.__qualname__}"
