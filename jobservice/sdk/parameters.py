"""Owns the check of a job's parameters against the signature of its `run`: built once per class, used once per run.

It knows nothing of job classes or jobs. Defaults are left to `run` itself: a parameter that was not given is not
passed.
"""

import inspect
from collections.abc import Callable, Collection
from functools import lru_cache
from typing import Any, NotRequired, Required, get_type_hints

from pydantic import ConfigDict, TypeAdapter, ValidationError
from pydantic_core import ErrorDetails
from typing_extensions import TypedDict

from jobservice.domain.errors import DefinitionError, JobParameterInvalid, JobParameterMissing

_KEYWORD = (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)


class Parameters:
    """What a job class takes. JSON in, values out, each of the type annotated."""

    __slots__ = ("_adapter", "names")

    def __init__(self, adapter: TypeAdapter[dict[str, Any]], names: tuple[str, ...]) -> None:
        self._adapter = adapter
        self.names = names

    def validate_json(self, text: str | bytes) -> dict[str, Any]:
        """The arguments in a JSON object. Raises JobParameterMissing, JobParameterInvalid."""
        try:
            return self._adapter.validate_json(text)
        except ValidationError as error:
            raise _translated(_errors_in(error)[0]) from None

    def check_json(self, text: str | bytes, unknown: Collection[str]) -> None:
        """As `validate_json`, where the values of the parameters in `unknown` are not known yet: any will do."""
        try:
            self._adapter.validate_json(text)
        except ValidationError as error:
            for each in _errors_in(error):
                beside = not each["loc"] or each["loc"][0] not in unknown
                if beside or (each["type"] == "extra_forbidden" and len(each["loc"]) == 1):
                    raise _translated(each) from None


class ParameterValidator(Parameters):
    """The parameters of one `run`, which takes them by name."""

    __slots__ = ()

    def __init__(self, run: Callable[..., Any]) -> None:
        """Reads the signature of the plain function `run`, whose first parameter is `self`. Raises DefinitionError."""
        fields, open_ended = _fields_of(run)
        super().__init__(adapter_of(run.__qualname__, fields, open_ended=open_ended), tuple(fields))


@lru_cache(maxsize=1024)
def validator_of(run: Callable[..., Any]) -> ParameterValidator:
    """The validator of a class's `run`, built at its first use."""
    return ParameterValidator(run)


def _fields_of(run: Callable[..., Any]) -> tuple[dict[str, Any], bool]:
    """name → annotation for each parameter but `self`, and whether `run` takes **kwargs."""
    hints = _hints_of(run)
    fields: dict[str, Any] = {}
    open_ended = False
    for parameter in list(inspect.signature(run).parameters.values())[1:]:
        if parameter.kind is inspect.Parameter.VAR_KEYWORD:
            open_ended = True
        elif parameter.kind in _KEYWORD:
            hint = hints.get(parameter.name, Any)
            required = parameter.default is inspect.Parameter.empty
            fields[parameter.name] = Required[hint] if required else NotRequired[hint]
        else:
            raise DefinitionError(
                f"{run.__qualname__}: parameters are passed by name, so {str(parameter)!r} can never be given;"
                " name each parameter"
            )
    return fields, open_ended


def _hints_of(run: Callable[..., Any]) -> dict[str, Any]:
    try:
        return get_type_hints(run, include_extras=True)
    except Exception as error:  # annotations are a user's expressions
        raise DefinitionError(f"{run.__qualname__}: an annotation cannot be resolved: {error}") from error


def adapter_of(of: str, fields: dict[str, Any], *, open_ended: bool = False) -> TypeAdapter[dict[str, Any]]:
    """Checks an object with these members. Raises DefinitionError, naming `of`, where a type cannot be checked."""
    # A TypedDict and not a model: any name may be a parameter's (`schema`, `_x`), and the dict is what run(**…) takes.
    make: Any = TypedDict
    shape = make("Parameters", fields)
    shape.__pydantic_config__ = ConfigDict(extra="allow" if open_ended else "forbid", allow_inf_nan=False)
    try:
        return TypeAdapter(shape)
    except Exception as error:  # pydantic raises many types for what it cannot check
        raise DefinitionError(f"{of}: a parameter has a type that cannot be checked: {error}") from error


def _errors_in(error: ValidationError) -> list[ErrorDetails]:
    return error.errors(include_url=False, include_context=False, include_input=False)


def _translated(first: ErrorDetails) -> JobParameterMissing | JobParameterInvalid:
    if not first["loc"]:
        return JobParameterInvalid("parameters", first["msg"])
    name, *inside = (str(part) for part in first["loc"])
    if not inside and first["type"] == "missing":
        return JobParameterMissing(name)
    if not inside and first["type"] == "extra_forbidden":
        return JobParameterInvalid(name, "the job has no such parameter")
    return JobParameterInvalid(name, f"{'.'.join(inside)}: {first['msg']}" if inside else first["msg"])
