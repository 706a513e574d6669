"""Measured values, by the row of the table that they belong to, and what was missing. Prints nothing."""

import statistics
from collections.abc import Sequence


class Figures:
    """Values in the order in which they were measured."""

    def __init__(self) -> None:
        self.values: dict[str, list[float]] = {}
        self.problems: list[str] = []

    def add(self, name: str, *values: float) -> None:
        """Some more values of one row."""
        self.values.setdefault(name, []).extend(values)

    def median(self, name: str) -> float:
        """Raises KeyError where nothing was measured."""
        return statistics.median(self.values[name])


def percentile(values: Sequence[float], share: float) -> float:
    """The value that `share` of them do not exceed."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(len(ordered) * share))]
