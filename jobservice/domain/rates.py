"""Rates as people write them: `100/s`, `100/min`, `5/h`, `10/30s`. What counts by them is the claim."""

import re
from dataclasses import dataclass

_UNITS = {"s": 1, "min": 60, "m": 60, "h": 3_600, "d": 86_400}
_WRITTEN = re.compile(r"([1-9][0-9]{0,8})/([1-9][0-9]{0,3})?(s|min|m|h|d)")
PATTERN = r"^[1-9][0-9]{0,8}/([1-9][0-9]{0,3})?(s|min|m|h|d)\z"
"""What `parse` reads."""


@dataclass(frozen=True, slots=True)
class Rate:
    """So many starts in a period of seconds, at most `burst` of them at once (None: all)."""

    starts: int
    period: float
    burst: int | None = None

    @property
    def at_once(self) -> int:
        """How many may start one right after the other when none has for long."""
        return self.starts if self.burst is None else self.burst

    @property
    def written(self) -> str:
        """As `parse` reads it."""
        return f"{self.starts}/{_period(self.period).replace(' ', '')}"

    def __str__(self) -> str:
        burst = "" if self.at_once == self.starts else f", {self.burst} at once"
        return f"{self.starts} per {_period(self.period)}{burst}"


def parse(text: str, burst: int | None = None) -> Rate:
    """The rate that the text says; a burst above it changes nothing. Raises ValueError, with what to write."""
    found = _WRITTEN.fullmatch(text)
    if found is None:
        raise ValueError("write a rate such as 100/s, 100/min, 5/h or 10/30s")
    starts, times, unit = int(found[1]), int(found[2] or 1), found[3]
    if burst is not None and burst < 1:
        raise ValueError("a burst is of 1 or more")
    smaller = burst if burst is not None and burst < starts else None
    return Rate(starts=starts, period=float(times * _UNITS[unit]), burst=smaller)


def _period(seconds: float) -> str:
    for unit in ("d", "h", "min"):
        if seconds % _UNITS[unit] == 0:
            times = int(seconds // _UNITS[unit])
            return unit if times == 1 else f"{times} {unit}"
    return "s" if seconds == 1 else f"{seconds:g} s"
