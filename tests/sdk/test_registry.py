"""Job classes are found by name, in the packages named, and wrong ones are refused at once."""

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from jobservice import AbstractJob
from jobservice.domain.errors import ConfigurationError, DefinitionError
from jobservice.sdk.definition import JobDefinition
from jobservice.sdk.registry import Registry
from jobservice.sdk.steps import Task


class Plain(AbstractJob):
    def run(self) -> None: ...


class Loop(AbstractJob):
    name = "on-the-loop"
    queue = "fast"
    timeout = 5.0
    max_attempts = 2
    needs_workspace = True

    async def run(self, a: int) -> None: ...


class Heir(Loop):
    pass


def declared(**attributes: Any) -> type[AbstractJob]:
    return type("Wrong", (AbstractJob,), attributes)


async def _on_the_loop(self: Any) -> None: ...


def _on_a_thread(self: Any) -> None: ...


async def _yields(self: Any) -> Any:
    yield 1


def test_the_executor_follows_from_run() -> None:
    assert JobDefinition.of(Plain).executor == "thread"
    assert JobDefinition.of(Loop).executor == "asyncio"


def test_a_definition_has_what_the_class_declares() -> None:
    definition = JobDefinition.of(Loop)

    assert definition.name == "on-the-loop"
    assert (definition.queue, definition.timeout, definition.max_attempts) == ("fast", 5.0, 2)
    assert definition.needs_workspace
    assert definition.validator.names == ("a",)


def test_a_name_is_not_inherited() -> None:
    assert Registry.of(Loop, Heir).names == ["Heir", "on-the-loop"]


@pytest.mark.parametrize(
    ("attributes", "complaint"),
    [
        ({}, "no `run`"),
        ({"run": 3}, "not a plain method"),
        ({"run": staticmethod(_on_a_thread)}, "not a plain method"),
        ({"run": _yields}, "generator"),
        ({"run": _on_a_thread, "name": "a.b"}, "'a.b'"),
        ({"run": _on_a_thread, "name": "x" * 65}, "not one word"),
        ({"run": _on_a_thread, "queue": "a b"}, "queue"),
        ({"run": _on_a_thread, "timeout": -1}, "timeout"),
        ({"run": _on_a_thread, "max_attempts": 0}, "max_attempts"),
        ({"run": _on_a_thread, "executor": "asyncio"}, "does not fit"),
        ({"run": _on_the_loop, "executor": "thread"}, "does not fit"),
        (
            {"run": _on_a_thread, "executor": "process", "__qualname__": "f.<locals>.Wrong"},
            "another process can import",
        ),
        ({"run": _on_a_thread, "executor": "fork"}, "does not fit"),
    ],
)
def test_a_wrong_declaration_names_the_class_and_the_fault(attributes: dict[str, Any], complaint: str) -> None:
    with pytest.raises(DefinitionError, match=complaint) as refused:
        JobDefinition.of(declared(**attributes))

    assert "Wrong" in str(refused.value)


def test_two_classes_with_one_name_are_refused_with_both() -> None:
    other = type("Plain", (AbstractJob,), {"run": _on_a_thread, "__module__": "elsewhere"})

    with pytest.raises(DefinitionError) as refused:
        Registry.of(Plain, other)

    assert f"{__name__}.Plain" in str(refused.value)
    assert "elsewhere.Plain" in str(refused.value)


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A package of jobs `their_jobs`, on the path."""
    before = set(sys.modules)
    directory = tmp_path / "their_jobs"
    (directory / "deep").mkdir(parents=True)
    (directory / "__init__.py").write_text("from their_jobs.deep.jobs import One\n")
    (directory / "deep" / "__init__.py").touch()
    (directory / "deep" / "jobs.py").write_text(
        "from jobservice import AbstractJob\n"
        "class Intermediate(AbstractJob):\n"
        "    def share(self): ...\n"
        "class One(Intermediate):\n"
        "    async def run(self): ...\n"
        "Again = One\n"
    )
    (directory / "__main__.py").write_text("raise SystemExit('a program was run')\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    yield directory
    for name in set(sys.modules) - before:
        if name.startswith("their_jobs"):
            del sys.modules[name]


def test_a_package_is_searched_to_its_depth(package: Path) -> None:
    registry = Registry.load(["their_jobs"])

    assert registry.names == ["One"]
    found = registry.find("One")
    assert found is not None
    assert found.job_class.__module__ == "their_jobs.deep.jobs"


def test_a_name_that_is_not_registered_is_not_imported(package: Path) -> None:
    registry = Registry.load(["their_jobs"])

    assert registry.find("their_jobs.deep.jobs.One") is None
    assert registry.find("Intermediate") is None


def test_naming_a_package_twice_or_a_part_of_it_changes_nothing(package: Path) -> None:
    assert Registry.load(["their_jobs", "their_jobs.deep", "their_jobs"]).names == ["One"]


@pytest.mark.parametrize("fault", ["raise SystemExit(3)", "def broken(:", "import no_such_module", "1 / 0"])
def test_a_module_that_cannot_be_imported_is_named_with_the_reason(package: Path, fault: str) -> None:
    (package / "faulty.py").write_text(fault)

    with pytest.raises(ConfigurationError, match=r"their_jobs\.faulty") as refused:
        Registry.load(["their_jobs"])

    assert type(refused.value.__cause__).__name__ in str(refused.value)


def test_a_package_that_does_not_exist_is_named() -> None:
    with pytest.raises(ConfigurationError, match="no_such_package"):
        Registry.load(["no_such_package"])


def test_the_classes_that_come_with_the_service_are_found() -> None:
    assert {"ChecksumTree", "RunCommand"} <= set(Registry.load(["workers"]).names)


@pytest.mark.parametrize("executor", ["process", "thread", "asyncio"])
def test_a_job_with_steps_chooses_no_executor(executor: str) -> None:
    job_class = type("Stepwise", (AbstractJob,), {"executor": executor, "steps": (Task("one", print),)})

    with pytest.raises(DefinitionError, match="steps choose where they run themselves; leave `executor` out"):
        JobDefinition.of(job_class)
