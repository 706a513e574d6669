"""Where settings come from: the file that is found, the environment, the flags; and the words when one is wrong.

Called by `config.Settings.load` only. It knows no single setting: names and types are read from the model.
An error names the setting and its source, never its value, which may hold a password.
"""

import difflib
import re
import tomllib
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, TypeVar, get_args, get_origin

from pydantic import BaseModel, ValidationError

from jobservice.domain.errors import ConfigurationError

PREFIX = "JOBSERVICE_"
OTHER_VARIABLES = frozenset(
    f"{PREFIX}{name}" for name in ("CONFIG", "STACK", "OFFLINE", "PG_BIN", "RMQ_ROOT", "WORKSPACE", "DEBUG")
)
"""Variables that are no settings: where the file is, and what private servers, `./dev` and job programs read."""
TEST_PREFIX = f"{PREFIX}TEST_"

# Kubernetes gives each container the address of every Service, named after it: a Service called "jobservice" would
# stop every daemon of its namespace.
_SERVICE_LINK = re.compile(r"JOBSERVICE_(\w+_)?(SERVICE_HOST|SERVICE_PORT(_\w+)?|PORT_\d+_(TCP|UDP|SCTP)(_\w+)?)")

_PLACES = (Path("config/jobservice.toml"), Path("/etc/jobservice/jobservice.toml"))

Model = TypeVar("Model", bound=BaseModel)


def find_file(given: Path | None, environment: Mapping[str, str]) -> Path | None:
    """The configuration file: the one given, the variable's, or the first that exists; None when there is none."""
    stated = given or (Path(environment["JOBSERVICE_CONFIG"]) if environment.get("JOBSERVICE_CONFIG") else None)
    if stated is None:
        return next((place for place in _PLACES if place.is_file()), None)
    if not stated.is_file():
        source = "--config" if given else "JOBSERVICE_CONFIG"
        raise ConfigurationError(f"there is no configuration file {stated} (named by {source})")
    return stated


def read_file(path: Path, model: type[BaseModel]) -> dict[str, Any]:
    """The file's tables. Raises ConfigurationError where it is not TOML or holds names that `model` does not have."""
    try:
        tables = tomllib.loads(path.read_text("utf-8"))
    except OSError as error:
        raise ConfigurationError(f"{path} cannot be read: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise ConfigurationError(f"{path} is not UTF-8 text") from error
    except tomllib.TOMLDecodeError as error:
        raise ConfigurationError(f"{path} is not TOML: {error}") from error
    known = setting_names(model) + _names_in_tables(tables, model)
    unknown = [name for name in _flat_names(tables, model) if name not in known]
    _refuse([f"unknown setting {name} in {path}{_nearest(name, known)}" for name in unknown])
    return tables


def refuse_unknown_variables(model: type[BaseModel], environment: Mapping[str, str]) -> None:
    """Raise ConfigurationError for each JOBSERVICE_* variable that means nothing, naming the nearest that does."""
    known = {variable_name(name) for name in setting_names(model)} | OTHER_VARIABLES
    unknown = [
        name
        for name, value in sorted(environment.items())
        if name.upper().startswith(PREFIX) and name.upper() not in known and not _is_foreign(name, value)
    ]
    _refuse([f"unknown environment variable {name}{_nearest(name.upper(), known)}" for name in unknown])


def load_checked(model: type[Model], values: dict[str, Any], sources: Mapping[str, Mapping[str, Any]]) -> Model:
    """`model` from `values`. Raises ConfigurationError with a line for each wrong setting and the source it is from."""
    try:
        return model(**values)
    except ValidationError as error:
        # The cause is cut: its text holds the values.
        lines = [_line(detail["loc"], detail["msg"], model, sources) for detail in error.errors(include_url=False)]
    raise ConfigurationError("\n".join(lines))


def merge(*layers: Mapping[str, Any]) -> dict[str, Any]:
    """The layers' settings in one; a later layer wins, setting by setting, not table by table."""
    merged: dict[str, Any] = {}
    for layer in layers:
        for name, value in layer.items():
            tables = isinstance(value, Mapping) and isinstance(merged.get(name), Mapping)
            merged[name] = {**merged[name], **value} if tables else value
    return merged


def setting_names(model: type[BaseModel]) -> list[str]:
    """Every setting as the file names it: `database_url`, `daemon.lease`, …; tables that users name are none."""
    sections = _sections(model)
    names = [name for name in model.model_fields if name not in sections and name not in _tables(model)]
    for section, section_model in sections.items():
        names += [f"{section}.{field.alias or name}" for name, field in section_model.model_fields.items()]
    return names


def variable_name(setting: str) -> str:
    """The environment variable of a setting."""
    return PREFIX + setting.upper().replace(".", "__")


def _sections(model: type[BaseModel]) -> dict[str, type[BaseModel]]:
    found = {}
    for name, field in model.model_fields.items():
        if isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel):
            found[name] = field.annotation
    return found


def _tables(model: type[BaseModel]) -> dict[str, type[BaseModel]]:
    """Settings that are tables of tables, each under a name that the user gives: `[schedule.nightly]`."""
    found = {}
    for name, field in model.model_fields.items():
        member = get_args(field.annotation)[-1:] if get_origin(field.annotation) is dict else ()
        if member and isinstance(member[0], type) and issubclass(member[0], BaseModel):
            found[name] = member[0]
    return found


def _names_in_tables(tables: Mapping[str, Any], model: type[BaseModel]) -> list[str]:
    """What may stand in the tables that the user has named."""
    return [
        f"{name}.{given}.{field}"
        for name, member in _tables(model).items()
        for given, inside in (tables[name] if isinstance(tables.get(name), Mapping) else {}).items()
        for field in (member.model_fields if isinstance(inside, Mapping) else ())
    ]


def _flat_names(tables: Mapping[str, Any], model: type[BaseModel]) -> Iterable[str]:
    sections, tabled = _sections(model), _tables(model)
    for name, value in tables.items():
        if isinstance(value, Mapping) and name in tabled:
            for given, member in value.items():
                inside = isinstance(member, Mapping)
                yield from (f"{name}.{given}.{inner}" for inner in member) if inside else (f"{name}.{given}",)
        elif isinstance(value, Mapping) and name in sections:
            yield from (f"{name}.{inner}" for inner in value)
        elif name in sections or name in tabled:
            raise ConfigurationError(f"{name} is a table: write [{name}] and its settings below it")
        elif isinstance(value, Mapping):
            # The whole table is unknown; its settings say best which was meant.
            yield from (f"{name}.{inner}" for inner in value) if value else (name,)
        else:
            yield name


def _nearest(name: str, known: Iterable[str]) -> str:
    matches = difflib.get_close_matches(name, list(known), n=1, cutoff=0.6)
    return f"; did you mean {matches[0]}?" if matches else ""


def _is_foreign(name: str, value: str) -> bool:
    link = _SERVICE_LINK.fullmatch(name) is not None or (name.endswith("_PORT") and "://" in value)
    return name.upper().startswith(TEST_PREFIX) or link


def _line(
    place: tuple[int | str, ...], message: str, model: type[BaseModel], sources: Mapping[str, Mapping[str, Any]]
) -> str:
    words = [str(part) for part in place]
    depth = 2 if words and words[0] in _sections(model) else 3 if words and words[0] in _tables(model) else 1
    name, rest = ".".join(words[:depth]), words[depth:]
    member = f" (member {rest[0]})" if rest and rest[0].isdigit() else ""
    text = message.removeprefix("Value error, ")
    return f"{name}{member}: {text[:1].lower()}{text[1:]}{_origin(words[:depth], sources)}"


def _origin(words: list[str], sources: Mapping[str, Mapping[str, Any]]) -> str:
    for source, values in sources.items():
        value: Any = values
        for word in words:
            value = value.get(word) if isinstance(value, Mapping) else None
        if value is not None:
            return f" (set by {variable_name('.'.join(words))})" if source == "environment" else f" (set by {source})"
    return ""


def _refuse(lines: list[str]) -> None:
    if lines:
        raise ConfigurationError("\n".join(lines))
