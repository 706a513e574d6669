"""How a field of a record stands in a file: said by a Column in its annotation, found here for every kind of record."""

import dataclasses
import types
from dataclasses import dataclass
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints, is_typeddict

from pydantic import BaseModel

from jobservice.domain.errors import DefinitionError


@dataclass(frozen=True, slots=True)
class Column:
    """`Annotated[date, Column(name="Trade date", position=3, format="%d.%m.%Y")]`. All is optional.

    `position` counts from 1. `format`: of dates and times as strftime has it, of bools "yes/no" (true first), of
    numbers as format() has it, for writing only. `width`, `align` and `fill` are those of fixed-width files.
    """

    name: str | None = None
    position: int | None = None
    format: str | None = None
    width: int | None = None
    align: Literal["left", "right"] | None = None
    fill: str = " "


@dataclass(frozen=True, slots=True)
class Field:
    """A field of a record as a file shows it."""

    name: str
    key: str
    """Under which the record's validator takes it."""
    kind: Any
    """Its type, without None and annotations."""
    nullable: bool
    required: bool
    column: Column

    @property
    def heading(self) -> str:
        """What the header calls it."""
        return self.column.name or self.key


def fields_of(record: Any) -> tuple[Field, ...]:
    """The fields of a pydantic model, a dataclass or a TypedDict, in the order of their columns.

    Those without a position take the places that are left, as they are declared. Raises DefinitionError.
    """
    if isinstance(record, type) and issubclass(record, BaseModel):
        found = [
            _field(name, info.alias or name, info.annotation, info.metadata, info.is_required())
            for name, info in record.model_fields.items()
        ]
    elif dataclasses.is_dataclass(record) and isinstance(record, type):
        hints = get_type_hints(record, include_extras=True)
        found = [_annotated(each.name, hints[each.name], _is_required(each)) for each in dataclasses.fields(record)]
    elif is_typeddict(record):
        hints = get_type_hints(record, include_extras=True)
        found = [_annotated(name, hint, name in record.__required_keys__) for name, hint in hints.items()]
    else:
        raise DefinitionError(f"a record is a pydantic model, a dataclass, a TypedDict or dict, not {record!r}")
    return tuple(_in_order(record, found))


def _is_required(field: "dataclasses.Field[Any]") -> bool:
    return field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING


def _annotated(name: str, hint: Any, required: bool) -> Field:
    metadata = getattr(hint, "__metadata__", ())
    return _field(name, name, get_args(hint)[0] if metadata else hint, metadata, required)


def _field(name: str, key: str, kind: Any, metadata: Any, required: bool) -> Field:
    nullable = False
    if get_origin(kind) in (Union, types.UnionType):
        kinds = [each for each in get_args(kind) if each is not type(None)]
        nullable = len(kinds) < len(get_args(kind))
        kind = kinds[0] if len(kinds) == 1 else Any
    if inner := getattr(kind, "__metadata__", ()):  # Annotated[…] | None
        kind, metadata = get_args(kind)[0], [*metadata, *inner]
    column = next((each for each in metadata if isinstance(each, Column)), Column())
    return Field(name, key, kind, nullable, required, column)


def _in_order(record: Any, found: list[Field]) -> list[Field]:
    placed = {each.column.position: each for each in found if each.column.position is not None}
    if len(placed) < sum(each.column.position is not None for each in found) or any(place < 1 for place in placed):
        raise DefinitionError(f"{record.__name__}: a position is there twice, or less than 1")
    free = iter(each for each in found if each.column.position is None)
    ordered: list[Field] = []
    for place in range(1, max([len(found), *placed]) + 1):
        field = placed.get(place) or next(free, None)
        if field is not None:
            ordered.append(field)
    return ordered
