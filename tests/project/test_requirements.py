"""The pinned requirements say what pyproject.toml asks for, and name no place to fetch it from."""

import re
import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

CHECKOUT = Path(__file__).parents[2]
PROJECT = tomllib.loads((CHECKOUT / "pyproject.toml").read_text())
RUN = PROJECT["project"]["dependencies"]
DEV = PROJECT["dependency-groups"]["dev"]
BUILD = PROJECT["build-system"]["requires"]


def pinned(name: str) -> dict[str, str]:
    text = (CHECKOUT / "requirements" / f"{name}.txt").read_text()
    return {canonicalize_name(package): version for package, version in re.findall(r"^(\S+?)==([^\s;]+)", text, re.M)}


@pytest.mark.parametrize(("file", "asked"), [("run", RUN), ("dev", RUN + DEV), ("build", BUILD)])
def test_each_dependency_is_pinned_to_a_version_that_is_asked_for(file: str, asked: list[str]) -> None:
    versions = pinned(file)

    wanted = [Requirement(line) for line in asked]

    wrong = [
        str(need) for need in wanted if not need.specifier.contains(versions.get(canonicalize_name(need.name), "0"))
    ]
    assert wrong == [], "pin them with ./dev lock"


@pytest.mark.parametrize("file", ["run", "dev", "build", "uv"])
def test_a_pin_has_a_hash_and_no_file_names_a_registry(file: str) -> None:
    text = (CHECKOUT / "requirements" / f"{file}.txt").read_text()

    pins = re.split(r"\n(?=\S)", text.strip())

    assert all("--hash=sha256:" in pin for pin in pins)
    assert "://" not in text
    assert not re.search(r"^-", text, re.M)
