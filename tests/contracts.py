"""The written contract as a stranger reads it: from the files in `docs/contract`, with a validator that is not ours."""

import json
import re
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import Any, get_args

from jsonschema import Draft7Validator, FormatChecker, ValidationError, validators

from jobservice.control.wire import AnyCommand

CONTRACT = Path(__file__).parents[1] / "docs" / "contract"
FORMATS = FormatChecker(formats=["uuid"])


@FORMATS.checks("date-time", raises=ValueError)
def _is_a_date(value: object) -> bool:
    return not isinstance(value, str) or datetime.fromisoformat(value).utcoffset() is not None


def _pattern(validator: Any, pattern: str, instance: Any, schema: Any) -> Iterator[ValidationError]:
    """As ECMA 262 reads it: `$` is the very end, while Python's also stands before a last line break."""
    if isinstance(instance, str) and not re.search(re.sub(r"\$$", r"\\Z", pattern), instance):
        yield ValidationError(f"{instance!r} does not match {pattern!r}")


_Validator: Any = validators.extend(Draft7Validator, {"pattern": _pattern})


def document(file: str) -> Any:
    return json.loads((CONTRACT / file).read_text())


def validator(name: str, *, strict: bool = False) -> Any:
    """Of a message. Strict: a member that the schema does not name is an error; only of what the service writes."""
    schema = document(f"{name}.schema.json")
    return _Validator(_closed(schema) if strict else schema, format_checker=FORMATS)


def _closed(schema: Any) -> Any:
    if isinstance(schema, list):
        return [_closed(each) for each in schema]
    if not isinstance(schema, dict):
        return schema
    closed = {name: _closed(each) for name, each in schema.items()}
    if closed.get("type") == "object" and "properties" in closed:
        closed["additionalProperties"] = False
    return closed


def complaints(validator: Any, message: Any) -> list[str]:
    """What the schema has against a message."""
    return [f"{'/'.join(map(str, error.absolute_path))}: {error.message}" for error in validator.iter_errors(message)]


def fields_of(name: str) -> list[str]:
    """The members of one of the shapes of a submission."""
    return sorted(document("submission.schema.json")["definitions"][name]["properties"])


def command_words() -> list[str]:
    """What may stand as `command`."""
    members = [model.model_fields["command"].annotation for model in get_args(AnyCommand)]
    return sorted(word for member in members for word in get_args(member))
