"""Which submissions mean the same instance of a job with steps: the canonical form of its identifying parameters."""

import os
import subprocess
import sys
from datetime import date
from pathlib import Path
from typing import Annotated, Any

import pytest
from pydantic import BaseModel

from jobservice import AbstractJob
from jobservice.sdk.step_parameters import StepParameters, step_parameters_of
from jobservice.sdk.steps import NotIdentifying


class Where(BaseModel):
    city: str
    tags: set[str] = set()


class Report(AbstractJob):
    day: date = date(2026, 1, 1)
    number: int = 0
    where: Where | None = None
    tags: frozenset[str] = frozenset()
    names: dict[str, int] = {}  # noqa: RUF012 - the default that a job may change
    note: Annotated[str, NotIdentifying] = ""


def report() -> StepParameters:
    return step_parameters_of(Report)


def key(text: str) -> str:
    return report().identity(report().validate_json(text)).key


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ('{"names": {"a": 1, "b": 2}}', '{"names": {"b": 2, "a": 1}}'),
        ('{"day": "2026-01-01"}', "{}"),
        ('{"note": "x"}', '{"note": "y"}'),
        ('{"tags": ["a", "b", "c"]}', '{"tags": ["c", "b", "a", "a"]}'),
        ('{"where": {"city": "Ulm", "tags": ["a", "b"]}}', '{"where": {"tags": ["b", "a"], "city": "Ulm"}}'),
    ],
)
def test_what_says_the_same_is_the_same_instance(one: str, other: str) -> None:
    assert key(one) == key(other)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ('{"number": 9007199254740992}', '{"number": 9007199254740993}'),
        ('{"day": "2026-01-01"}', '{"day": "2026-01-02"}'),
        ('{"where": {"city": "Ulm"}}', '{"where": {"city": "Bonn"}}'),
    ],
)
def test_what_differs_at_all_is_another_instance(one: str, other: str) -> None:
    assert key(one) != key(other)


def test_sets_have_one_order_in_all_processes() -> None:
    program = (
        "from test_instance_identity import key;"
        'print(key(\'{"tags": ["a", "b", "c", "d", "e"], "where": {"city": "Ulm", "tags": ["x", "y", "z"]}}\'))'
    )

    keys = {_printed(program, seed) for seed in ("1", "2", "3")}

    assert len(keys) == 1


def _printed(program: str, seed: str) -> str:
    environment: dict[str, Any] = os.environ | {"PYTHONHASHSEED": seed, "PYTHONPATH": os.pathsep.join(sys.path)}
    here = Path(__file__).parent
    return subprocess.run(
        [sys.executable, "-c", program], env=environment, cwd=here, check=True, capture_output=True, text=True
    ).stdout


def test_a_job_that_changes_a_default_changes_it_for_itself_alone() -> None:
    report().values({})["names"]["a"] = 1

    assert report().values({})["names"] == {}
