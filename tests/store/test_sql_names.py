"""Each statement in the .sql files has a caller, and each call a statement."""

import ast
import re
from collections import Counter
from pathlib import Path

import pytest

import jobservice
from jobservice.store.schema import ddl
from jobservice.store.sql import load

PACKAGE = Path(jobservice.__file__).parent
FILES = sorted(path for path in PACKAGE.rglob("*.sql") if path.name != "schema.sql")
HEADER = re.compile(r"^-- name: (\w+)\(([^)]*)\)", re.MULTILINE)


def sources() -> dict[Path, ast.Module]:
    return {path: ast.parse(path.read_text(encoding="utf-8")) for path in sorted(PACKAGE.rglob("*.py"))}


def loads(tree: ast.Module) -> set[str]:
    """The .sql files that a module names, by their bare names; `with_suffix` names the module's own."""
    named = {node.value for node in ast.walk(tree) if isinstance(node, ast.Constant) and isinstance(node.value, str)}
    return {name for name in named if name.endswith(".sql")}


def calls(tree: ast.Module) -> list[ast.Call]:
    """Calls of statements: methods of an attribute that holds loaded SQL."""
    holders = {"_sql", "_submission", "_unblocking"}
    return [
        node
        for node in ast.walk(tree)
        if isinstance(node, ast.Call)
        and isinstance(node.func, ast.Attribute)
        and isinstance(node.func.value, ast.Attribute)
        and node.func.value.attr in holders
    ]


def files_of(path: Path, tree: ast.Module) -> list[Path]:
    named = loads(tree)
    return [file for file in FILES if file.parent == path.parent and (file.name in named or file.stem == path.stem)]


CALLS = [
    (path.relative_to(PACKAGE).as_posix(), call.func.attr, [k.arg for k in call.keywords], files_of(path, tree))
    for path, tree in sources().items()
    if files_of(path, tree)
    for call in calls(tree)
]


def test_the_files_are_found() -> None:
    assert len(FILES) >= 5
    assert len(CALLS) >= 40


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.relative_to(PACKAGE).as_posix())
def test_each_statement_is_called_by_the_modules_that_load_its_file(file: Path) -> None:
    called = {name for _, name, _, files in CALLS if file in files}

    assert {name for name, _ in HEADER.findall(file.read_text(encoding="utf-8"))} <= called


@pytest.mark.parametrize(("module", "name", "given", "files"), CALLS)
def test_each_call_has_its_statement_with_just_these_parameters(
    module: str, name: str, given: list[str | None], files: list[Path]
) -> None:
    wanted = [dict(HEADER.findall(file.read_text(encoding="utf-8"))).get(name) for file in files]
    (parameters,) = [found for found in wanted if found is not None]

    if None not in given:  # `**values` is put together where it is called
        assert sorted(filter(None, re.split(r",\s*", parameters))) == sorted(map(str, given))


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.relative_to(PACKAGE).as_posix())
def test_no_name_is_given_twice_and_all_are_loaded(file: Path) -> None:
    names = [name for name, _ in HEADER.findall(file.read_text(encoding="utf-8"))]

    assert [name for name, n in Counter(names).items() if n > 1] == []
    assert set(names) <= set(load(file).available_queries)


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.relative_to(PACKAGE).as_posix())
def test_each_statement_names_the_schema_so_that_another_one_can_take_its_place(file: Path) -> None:
    text = re.sub(r"--.*", "", file.read_text(encoding="utf-8"))
    tables = re.findall(r"^CREATE TABLE IF NOT EXISTS (\w+)", ddl(), re.MULTILINE)

    assert tables
    assert re.findall(rf"\b(?:FROM|JOIN|INTO|UPDATE)\s+(?:{'|'.join(tables)})\b(?!\s*\()", text) == []
