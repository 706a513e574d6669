"""Parameters of a job are those of its `run`, checked once, before it starts."""

from __future__ import annotations

import json
from datetime import datetime
from pathlib import Path
from typing import Annotated, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel, Field

from jobservice.domain.errors import DefinitionError, JobParameterInvalid, JobParameterMissing
from jobservice.sdk.parameters import ParameterValidator


class Box(BaseModel):
    size: int


def run(
    self: Any,
    root: Path,
    count: int = 3,
    *,
    boxes: list[Box] | None = None,
    when: datetime | None = None,
    schema: Annotated[int, Field(gt=0)] = 1,
    _odd: str = "",
    anything=None,  # type: ignore[no-untyped-def]
) -> Unresolvable:  # type: ignore[name-defined]  # noqa: F821
    ...


run.__annotations__.pop("return")
VALIDATOR = ParameterValidator(run)


def test_values_get_the_annotated_types_and_defaults_are_left_to_run() -> None:
    arguments = VALIDATOR.validate_json('{"root": "/a", "boxes": [{"size": 1}], "when": "2030-01-01T00:00:00Z"}')

    assert arguments["root"] == Path("/a")
    assert arguments["boxes"] == [Box(size=1)]
    assert arguments["when"].year == 2030
    assert set(arguments) == {"root", "boxes", "when"}


def test_any_name_may_be_a_parameter() -> None:
    assert VALIDATOR.validate_json('{"root": "a", "schema": 2, "_odd": "x", "anything": [null]}') == {
        "root": Path("a"),
        "schema": 2,
        "_odd": "x",
        "anything": [None],
    }


def test_integers_beyond_64_bits_stay_exact() -> None:
    assert VALIDATOR.validate_json(f'{{"root": "a", "count": {10**40}}}')["count"] == 10**40


def test_a_missing_parameter_is_named() -> None:
    with pytest.raises(JobParameterMissing) as missing:
        VALIDATOR.validate_json('{"count": 1}')

    assert missing.value.name == "root"


@pytest.mark.parametrize(
    ("text", "name", "reason"),
    [
        ('{"root": null}', "root", "path"),
        ('{"root": "a", "count": "many"}', "count", "integer"),
        ('{"root": "a", "count": null}', "count", "integer"),
        ('{"root": "a", "unknown": 1}', "unknown", "no such parameter"),
        ('{"root": "a", "boxes": [{"size": 1}, {"size": "x"}]}', "boxes", "1.size"),
        ('{"root": "a", "schema": 0}', "schema", "greater than 0"),
        ("[]", "parameters", "object"),
        ("{", "parameters", "JSON"),
    ],
)
def test_an_invalid_parameter_is_named_with_the_reason(text: str, name: str, reason: str) -> None:
    with pytest.raises(JobParameterInvalid) as invalid:
        VALIDATOR.validate_json(text)

    assert invalid.value.name == name
    assert reason in invalid.value.reason


def test_a_run_with_kwargs_takes_what_it_does_not_name() -> None:
    def takes_all(self: Any, a: int, **others: Any) -> None: ...

    validator = ParameterValidator(takes_all)

    assert validator.validate_json('{"a": "1", "b": [2]}') == {"a": 1, "b": [2]}


def test_parameters_that_no_name_reaches_are_refused() -> None:
    def takes_a_list(self: Any, *values: int) -> None: ...

    def takes_places(self: Any, a: int, /) -> None: ...

    with pytest.raises(DefinitionError, match="values"):
        ParameterValidator(takes_a_list)
    with pytest.raises(DefinitionError, match="takes_places"):
        ParameterValidator(takes_places)


def test_an_annotation_that_means_nothing_is_a_definition_error() -> None:
    def lost(self: Any, a: NoSuchType) -> None: ...  # type: ignore[name-defined]  # noqa: F821

    with pytest.raises(DefinitionError, match="NoSuchType"):
        ParameterValidator(lost)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=10,
)


def free(self: Any, a: Any, b: Any = None) -> None: ...


def typed(self: Any, a: int, b: str = "") -> None: ...


FREE, TYPED = ParameterValidator(free), ParameterValidator(typed)


@given(JSON, JSON)
def test_without_annotations_every_json_value_passes_unchanged(a: Any, b: Any) -> None:
    assert FREE.validate_json(json.dumps({"a": a, "b": b})) == {"a": a, "b": b}


@given(st.dictionaries(st.sampled_from(["a", "b", "c"]), JSON))
def test_whatever_is_given_either_fits_or_is_named(parameters: dict[str, Any]) -> None:
    try:
        arguments = TYPED.validate_json(json.dumps(parameters))
    except JobParameterMissing as error:
        assert error.name == "a"
        assert "a" not in parameters
    except JobParameterInvalid as error:
        assert error.name in parameters
    else:
        assert set(arguments) == set(parameters) <= {"a", "b"}
        assert type(arguments["a"]) is int
        assert isinstance(arguments.get("b", ""), str)
