"""How fast a step gets on while somebody looks: items a second, and how long it has to go."""

import time
from collections import deque
from collections.abc import Callable

from jobservice.client.instances import InstanceInfo, StepInfo

WINDOW = 30.0
"""Seconds over which the rate is taken: what a step did before an outage says nothing of now."""


class Pace:
    """Of the step that is at work; it begins anew with each step."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._step: str | None = None
        self._looks: deque[tuple[float, int]] = deque()

    def told(self, instance: InstanceInfo) -> str | None:
        """A line for people; None where no step is at work, or what it reads was not counted."""
        step = next((each.step for each in reversed(instance.steps) if each.status == "STARTED"), None)
        if step is None:
            return None
        if step != self._step:
            self._step = step
            self._looks.clear()
        rows = _rows_of(instance, step)
        done, expected = sum(row.read for row in rows), _expected(rows)
        rate = self._rate(done)
        if expected is None:
            return None
        words = [f"{step}: {done:,} of {expected:,} items"]
        if rate is not None:
            words.append(f"{rate:,.0f} a second")
            words.append(f"about {_duration((expected - done) / rate)} to go")
        return ", ".join(words)

    def _rate(self, done: int) -> float | None:
        now = self._clock()
        self._looks.append((now, done))
        while len(self._looks) > 2 and self._looks[0][0] < now - WINDOW:
            self._looks.popleft()
        (first, before) = self._looks[0]
        return (done - before) / (now - first) if done > before else None


def _rows_of(instance: InstanceInfo, step: str) -> list[StepInfo]:
    """Its parts, or the step itself where it has none."""
    rows = [each for each in instance.steps if each.step == step]
    return [each for each in rows if each.part is not None] or rows


def _expected(rows: list[StepInfo]) -> int | None:
    """Parts count their items when they begin: those that have not begun are taken to be as large as the others."""
    counted = [row.expected for row in rows if row.expected is not None]
    return None if not counted else max(sum(counted) * len(rows) // len(counted), sum(row.read for row in rows))


def _duration(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"
