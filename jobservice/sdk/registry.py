"""Owns the job classes that a daemon knows: found by name, in the configured packages only.

A name from the database is looked up here and nowhere else; it is never imported.
"""

import pkgutil
from collections.abc import Iterable, Iterator, Sequence
from importlib import import_module
from types import ModuleType

from jobservice.domain.errors import ConfigurationError, DefinitionError
from jobservice.sdk.abstract_job import AbstractJob, is_job_class
from jobservice.sdk.definition import JobDefinition
from jobservice.sdk.results import qualified_name


class Registry:
    """name → definition, complete from its construction on."""

    __slots__ = ("_definitions",)

    def __init__(self, definitions: Iterable[JobDefinition]) -> None:
        self._definitions: dict[str, JobDefinition] = {}
        for definition in definitions:
            self._add(definition)

    @classmethod
    def load(cls, packages: Sequence[str]) -> "Registry":
        """All job classes defined in these packages and their submodules.

        Raises ConfigurationError for a package that cannot be imported, DefinitionError for a wrong class.
        """
        modules = {module.__name__: module for package in packages for module in _modules_of(package)}
        classes = [found for module in modules.values() for found in _classes_in(module)]
        return cls.of(*classes)

    @classmethod
    def of(cls, *classes: type[AbstractJob]) -> "Registry":
        """Just these classes."""
        return cls(JobDefinition.of(each) for each in classes)

    @property
    def names(self) -> list[str]:
        """The names of all classes, sorted."""
        return sorted(self._definitions)

    @property
    def definitions(self) -> list[JobDefinition]:
        """All definitions, by name."""
        return [self._definitions[name] for name in self.names]

    def find(self, name: str) -> JobDefinition | None:
        """The class of this name, or None."""
        return self._definitions.get(name)

    def _add(self, definition: JobDefinition) -> None:
        known = self._definitions.setdefault(definition.name, definition)
        if known.job_class is not definition.job_class:
            raise DefinitionError(
                f"two job classes are named {definition.name!r}: {qualified_name(known.job_class)} and"
                f" {qualified_name(definition.job_class)}; give one of them another `name`"
            )


def _modules_of(package: str) -> Iterator[ModuleType]:
    module = _imported(package)
    yield module
    for found in pkgutil.iter_modules(getattr(module, "__path__", ()), f"{package}."):
        # A __main__ is a program: importing it would run it.
        if not found.name.endswith(".__main__"):
            yield from _modules_of(found.name)


def _imported(name: str) -> ModuleType:
    try:
        return import_module(name)
    except (Exception, SystemExit) as error:  # whatever a user's module raises while it is imported
        raise ConfigurationError(
            f"jobs.packages: {name!r} cannot be imported: {type(error).__name__}: {error}"
        ) from error


def _classes_in(module: ModuleType) -> list[type[AbstractJob]]:
    found = {id(each): each for each in vars(module).values() if is_job_class(each)}
    return [each for each in found.values() if each.__module__ == module.__name__]
