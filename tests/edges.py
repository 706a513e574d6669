"""Values at the edge of some rule of the contract, values of any kind, and how many of them a test tries."""

from typing import Any
from uuid import uuid4

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st

LATER = "2100-01-31T12:00:00Z"

texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
EDGES: list[Any] = [
    "", "a\n", "A-1_b", "x" * 64, "x" * 65, "x" * 255, "x" * 256, "x" * 512, "x" * 513, "é" * 10_000, "é" * 10_001,
    "a.b", "_a", "nul\x00", "HIGH", "high", "PENDING", "RUNNING", "SUCCEEDED", str(uuid4()), "x-y-z", LATER,
    "2100-01-31T12:00:00", "2100-02-30T12:00:00Z", "2100-01-31T25:00:00+01:00", "tomorrow",
    0, 1, -1, 2**31 - 1, 2**31, -(2**31), -(2**31) - 1, 10**6, 10**6 + 1, 10**9, 0.5, 1e-9, 999_999_999.5, 1e9, 1e6,
]  # fmt: skip
"""Values at the edge of some rule."""
values = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**40), 2**40) | st.floats(-1e12, 1e12) | texts | st.sampled_from(EDGES),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3),
    max_leaves=4,
)
several_calls = settings(
    max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture], derandomize=True
)
