"""What a job returns is stored exactly, or its job fails saying why."""

import json
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from pydantic import BaseModel

from jobservice.sdk.results import ResultNotEncodable, encode_result


@dataclass
class Report:
    root: Path
    sizes: dict[str, int] = field(default_factory=dict)
    ratio: float = 0.5


class Answer(BaseModel):
    at: datetime
    tags: set[str] = set()
    weight: float = 1.0


def test_nothing_returned_is_nothing_stored() -> None:
    assert encode_result(None) == (None, None)


def test_a_result_is_stored_with_the_name_of_its_class() -> None:
    text, name = encode_result(Report(Path("/a"), {"b": 2**70}))

    assert text is not None
    assert json.loads(text) == {"root": "/a", "sizes": {"b": 2**70}, "ratio": 0.5}
    assert name == f"{__name__}.Report"


@pytest.mark.parametrize(
    ("value", "stored", "name"),
    [
        (0, 0, "int"),
        ("é", "é", "str"),
        ([1, (2,)], [1, [2]], "list"),
        ({1: "a", Path("p"): "b"}, {"1": "a", "p": "b"}, "dict"),
        (b"bytes", "bytes", "bytes"),
        (datetime(2030, 1, 1, tzinfo=UTC), "2030-01-01T00:00:00Z", "datetime.datetime"),
        (Answer(at=datetime(2030, 1, 1, tzinfo=UTC)), {"at": "2030-01-01T00:00:00Z", "tags": [], "weight": 1.0}, None),
    ],
)
def test_values_of_many_types_are_stored(value: Any, stored: Any, name: str | None) -> None:
    text, result_class = encode_result(value)

    assert text is not None
    assert json.loads(text) == stored
    assert result_class == (name or f"{__name__}.Answer")


@pytest.mark.parametrize(
    ("value", "complaint"),
    [
        (float("nan"), "not finite"),
        ({"a": [1.0, float("-inf")]}, "(at .a[1])"),
        (Report(Path("a"), ratio=float("nan")), "(at .ratio)"),
        (Answer(at=datetime(2030, 1, 1, tzinfo=UTC), weight=float("nan")), "(at .weight)"),
        ({"name": "a\x00b"}, "NUL"),
        ({"a\x00b": 1}, "NUL"),
        ([Path("caf\udce9")], "surrogate"),
        ([b"\xff"], "not UTF-8"),
        (object(), "object"),
        ({"a": lambda: None}, "(at .a)"),
        ([10**5000], "digits"),
    ],
)
def test_what_cannot_be_stored_says_where_and_why(value: Any, complaint: str) -> None:
    with pytest.raises(ResultNotEncodable) as refused:
        encode_result(value)

    assert complaint in str(refused.value)


def test_a_result_without_end_is_refused() -> None:
    endless: list[Any] = []
    endless.append(endless)

    with pytest.raises(ResultNotEncodable, match="too deep"):
        encode_result(endless)
