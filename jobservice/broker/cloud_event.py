"""What all our events have in common on the wire: CloudEvents 1.0, structured JSON."""

from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Any, Final

import orjson

EVENT_SOURCE: Final = "/jobservice"


def as_json(value: object) -> str:
    """The value as JSON text."""
    return "null" if value is None else orjson.dumps(value).decode()


def instant(time: datetime) -> str:
    """A time as events write it: UTC, always with microseconds, since texts of two lengths do not sort."""
    utc = time if time.tzinfo is UTC else time.astimezone(UTC)
    return utc.isoformat(timespec="microseconds")[:-6] + "Z"


def members_of(body: bytes, fields: frozenset[str], converted: Mapping[str, Callable[[Any], Any]]) -> dict[str, Any]:
    """The members of an event's `data` that are among `fields`, with the event's own `id`, `time` and `traceparent`.

    Raises KeyError, TypeError, AttributeError or ValueError where `body` is no such event.
    """
    event = orjson.loads(body)
    data = {name: value for name, value in event["data"].items() if name in fields}
    for name, convert in converted.items():
        if data.get(name) is not None:
            data[name] = convert(data[name])
    return data | {
        "id": event["id"],
        "time": datetime.fromisoformat(event["time"]),
        "traceparent": event.get("traceparent"),
    }
