"""Owns how parameters refer to the data of their job's stage and pipeline.

`{"$stage": "name"}` and `{"$pipeline": "name"}`, an object of that one member with a text, inside a parameter stand for
the member of that name of the data. With one more `$` it is meant as it is: `{"$$stage": "name"}` becomes
`{"$stage": "name"}`. What is put in is not looked at again.
"""

import json
from collections.abc import Callable, Mapping
from typing import Any, Final

from jobservice.domain.errors import JobParameterMissing
from jobservice.sdk.json_values import dump

_SIGN: Final = '"$'
_SOURCES: Final = frozenset({"stage", "pipeline"})

Find = Callable[[str, str], Any]
"""The value of a reference: its source, `stage` or `pipeline`, and the name. Raises JobParameterMissing."""


def may_refer(parameters: str) -> bool:
    """Whether it is worth to read this JSON text for references. Only a text with `"$` is."""
    return _SIGN in parameters


def resolve(parameters: str, data: Mapping[str, Mapping[str, Any]] | None) -> str:
    """The parameters with each reference replaced.

    `data` by source, None for a job without a stage. Raises JobParameterMissing, naming what is not there.
    """

    def find(source: str, name: str) -> Any:
        if data is None:
            raise JobParameterMissing(f"${source}.{name}", "the job belongs to no stage")
        if name not in data[source]:
            raise JobParameterMissing(f"${source}.{name}", f"the data of its {source} has no such member")
        return data[source][name]

    return dump({parameter: _replaced(value, find) for parameter, value in json.loads(parameters).items()})


def escaped(parameters: str) -> str:
    """The parameters so that `resolve` gives these: what looks like a reference in them is none."""
    if not may_refer(parameters):
        return parameters
    return dump({parameter: _escaped(value) for parameter, value in json.loads(parameters).items()})


def without_references(parameters: Mapping[str, Any]) -> tuple[dict[str, Any], frozenset[str]]:
    """Plain parameters as the job will see them, and the names of those that only a claim can complete."""
    unknown: set[str] = set()
    plain: dict[str, Any] = {}
    for parameter, value in parameters.items():
        found: list[str] = []

        def keep(source: str, name: str, found: list[str] = found) -> None:
            found.append(source)

        plain[parameter] = _replaced(value, keep)
        if found:
            unknown.add(parameter)
    return plain, frozenset(unknown)


def _replaced(value: Any, find: Find) -> Any:
    kind = type(value)
    if kind is list:
        return [_replaced(each, find) for each in value]
    if kind is not dict:
        return value
    if len(value) == 1:
        ((key, only),) = value.items()
        source = key.lstrip("$")
        if source in _SOURCES and key != source:
            return _referred(key, source, only, find)
    return {name: _replaced(member, find) for name, member in value.items()}


def _escaped(value: Any) -> Any:
    if type(value) is list:
        return [_escaped(each) for each in value]
    if type(value) is not dict:
        return value
    if len(value) == 1:
        ((key, only),) = value.items()
        if key != key.lstrip("$") in _SOURCES:
            return {f"${key}": _escaped(only)}
    return {name: _escaped(member) for name, member in value.items()}


def _referred(key: str, source: str, only: Any, find: Find) -> Any:
    if len(key) - len(source) > 1:
        return {key[1:]: _replaced(only, find)}
    return find(source, only) if type(only) is str else {key: only}
