"""Owns the parameters of a job with steps: its annotated fields, checked like those of a `run`, and their instance.

Two names are the service's own: `new_run` starts a complete instance anew, `$part` names one partition of a step.
"""

import hashlib
import inspect
import json
from collections.abc import Mapping
from copy import deepcopy
from functools import lru_cache
from typing import (
    Annotated,
    Any,
    ClassVar,
    Final,
    NamedTuple,
    NotRequired,
    Required,
    get_args,
    get_origin,
    get_type_hints,
)

from pydantic import TypeAdapter

from jobservice.domain.errors import DefinitionError
from jobservice.sdk.parameters import Parameters, adapter_of
from jobservice.sdk.steps import NotIdentifying

PART: Final = "$part"
NEW_RUN: Final = "new_run"


class Identity(NamedTuple):
    """What makes an instance: `key` is the SHA-256 of `parameters`, the identifying ones as canonical JSON."""

    key: str
    parameters: str


class StepParameters(Parameters):
    """The fields of one job class."""

    __slots__ = ("_defaults", "_dumps", "_hints")

    def __init__(self, job_class: type) -> None:
        """Raises DefinitionError where an annotation cannot be resolved or checked."""
        self._hints = _fields_of(job_class)
        self._defaults = {name: getattr(job_class, name) for name in self._hints if hasattr(job_class, name)}
        shape: dict[str, Any] = {
            name: NotRequired[hint] if name in self._defaults else Required[hint] for name, hint in self._hints.items()
        }
        own = {NEW_RUN: NotRequired[bool], PART: NotRequired[dict[str, Any]]}
        super().__init__(adapter_of(job_class.__qualname__, shape | own), tuple(self._hints))
        self._dumps = {name: TypeAdapter(self._hints[name]) for name in self.identifying}

    @property
    def identifying(self) -> list[str]:
        """The names of those that tell instances apart, sorted."""
        return sorted(name for name, hint in self._hints.items() if not _is_marked(hint))

    def values(self, arguments: Mapping[str, Any]) -> dict[str, Any]:
        """All fields, with their defaults where nothing was given: copies, which a job may change."""
        return deepcopy(self._defaults) | {name: value for name, value in arguments.items() if name in self._hints}

    def identity(self, arguments: Mapping[str, Any]) -> Identity:
        """The instance that these arguments mean."""
        values = self.values(arguments)
        plain = {name: self._plain(name, values[name]) for name in self.identifying}
        text = json.dumps(plain, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
        return Identity(hashlib.sha256(text.encode()).hexdigest(), text)

    def _plain(self, name: str, value: Any) -> Any:
        adapter = self._dumps[name]
        return _in_order(adapter.dump_python(value), json.loads(adapter.dump_json(value)))


def _in_order(value: Any, plain: Any) -> Any:
    """`plain`, the JSON of `value`, with its sets sorted: each process goes through a set in another order."""
    if isinstance(value, set | frozenset) and isinstance(plain, list):
        members = [_in_order(*pair) for pair in zip(value, plain, strict=True)]
        return sorted(members, key=lambda member: json.dumps(member, sort_keys=True))
    if isinstance(value, list | tuple) and isinstance(plain, list):
        return [_in_order(*pair) for pair in zip(value, plain, strict=True)]
    if isinstance(value, dict) and isinstance(plain, dict) and len(value) == len(plain):
        return {name: _in_order(*pair) for name, *pair in zip(plain, value.values(), plain.values(), strict=True)}
    return plain


def step_parameters_of(job_class: type) -> StepParameters:
    """Those of a class, read at the first use."""
    return _read(job_class)


@lru_cache(maxsize=1024)
def _read(job_class: Any) -> StepParameters:
    return StepParameters(job_class)


def _fields_of(job_class: type) -> dict[str, Any]:
    """name → annotation of every field of the class and those it inherits, up to AbstractJob."""
    owners = [each for each in job_class.__mro__ if not each.__module__.startswith("jobservice.sdk.")]
    own = {name for each in owners for name in inspect.get_annotations(each)}
    try:
        hints = get_type_hints(job_class, include_extras=True)
    except Exception as error:  # annotations are a user's expressions
        raise DefinitionError(f"{job_class.__qualname__}: an annotation cannot be resolved: {error}") from error
    fields = {name: hint for name, hint in hints.items() if name in own and get_origin(hint) is not ClassVar}
    for name in (NEW_RUN, PART):
        if name in fields:
            raise DefinitionError(f"{job_class.__qualname__}: {name} is the service's own; name the field otherwise")
    every = {name for each in job_class.__mro__ if each not in owners for name in vars(each)} - set(vars(object))
    if taken := sorted(every & fields.keys()):
        raise DefinitionError(
            f"{job_class.__qualname__}: every job has {', '.join(taken)}: name the parameter otherwise, or leave the"
            " annotation out (or make it ClassVar) where it says something of the class"
        )
    return fields


def _is_marked(hint: Any) -> bool:
    return get_origin(hint) is Annotated and any(
        each is NotIdentifying or isinstance(each, NotIdentifying) for each in get_args(hint)[1:]
    )
