"""What the members of commands look like, the rules between them, and what all commands have."""

from datetime import UTC, datetime
from typing import Annotated, Any

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, WithJsonSchema
from pydantic_core import PydanticCustomError

from jobservice.domain.names import PRIORITIES

Name = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_-]{0,63}\z")]
ShortText = Annotated[str, Field(max_length=1_000)]


def _zoned(value: Any) -> datetime:
    try:
        date = datetime.fromisoformat(value)
        if date.utcoffset() is not None:
            return date.astimezone(UTC)
    except (ValueError, TypeError, OverflowError):
        pass
    raise PydanticCustomError("date", "must be an ISO 8601 date with a zone, such as 2026-01-31T12:00:00Z")


def _priority(value: Any) -> Any:
    if isinstance(value, str):
        if value not in PRIORITIES:
            raise PydanticCustomError(
                "priority", "must be a whole number or one of {names}", {"names": ", ".join(PRIORITIES)}
            )
        return PRIORITIES[value]
    return value


ZonedDate = Annotated[datetime, BeforeValidator(_zoned)]
Priority = Annotated[
    int,
    Field(ge=-(2**31), lt=2**31),
    BeforeValidator(_priority),
    WithJsonSchema(
        {"anyOf": [{"type": "integer", "minimum": -(2**31), "maximum": 2**31 - 1}, {"enum": list(PRIORITIES)}]}
    ),
]


def wrong(field: str, text: str) -> PydanticCustomError:
    """What a check raises about `field`; the door answers with both."""
    return PydanticCustomError("wrong", "{text}", {"field": field, "text": text})


def given(name: str) -> dict[str, Any]:
    """For the written contract: the member is there and not null. Such a rule stands beside the check that it tells."""
    return {"required": [name], "properties": {name: {"not": {"type": "null"}}}}


def written(*rules: dict[str, Any]) -> ConfigDict:
    """For the written contract: what a model's checks demand, as JSON Schema; all rules hold."""
    return ConfigDict(json_schema_extra={"allOf": list(rules)})


def absent(name: str) -> dict[str, Any]:
    """For the written contract: the member is not there, or null."""
    return {"properties": {name: {"type": "null"}}}


def forbidden(*names: str) -> dict[str, Any]:
    """For the written contract: none of the members is there, not even as null."""
    return {"not": {"anyOf": [{"required": [name]} for name in names]}}


class Command(BaseModel):
    """What all have: a `tenant` must be that of the routing key, or walls an operator's command off."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)

    tenant: Name | None = None
