"""Owns what a job tells of its progress beside counts and message: a free object, and named steps with their times.

Any thread may tell. Times are offsets from the start of the run; they become dates where they are stored, on the clock
of the database. It never writes anywhere.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from threading import Lock
from typing import Any, Final

from jobservice.domain.errors import JobError
from jobservice.sdk.json_values import PARAMETERS_DEPTH_MAX, NotJson, dump, to_plain

STEPS: Final = "steps"
"""The member that holds the steps, by name."""
INFO_MAX: Final = 65_536
"""Longest JSON text of the free object, in characters: it is written at each tick at which something changed."""
STEPS_MAX: Final = 200
STEP_NAME_MAX: Final = 200


class ProgressRefused(JobError):
    """What the job tells of its progress cannot be kept; the text says why."""


@dataclass(slots=True)
class _Step:
    status: str
    begun: float
    seconds: float | None = None


class ProgressInfo:
    """One run's. `monotonic` arguments are `time.monotonic()`."""

    __slots__ = ("_first", "_free", "_lock", "_over", "_steps", "_version", "_written")

    def __init__(self) -> None:
        self._lock = Lock()
        self._free: dict[str, Any] = {}
        self._steps: dict[str, _Step] = {}
        self._first: float | None = None
        """When the first of all steps began. In a process that is a little before the daemon hears of the start."""
        self._version = 0
        self._written = 0
        self._over = False

    def replace(self, value: Mapping[str, Any]) -> None:
        """Keeps `value` instead of what was kept so far; the steps stay. Raises ProgressRefused."""
        try:
            plain = to_plain(value, PARAMETERS_DEPTH_MAX)
            size = len(dump(plain))
        except NotJson as error:
            raise ProgressRefused(f"progress_info{error.where}: {error.reason}") from None
        if not isinstance(plain, dict):
            raise ProgressRefused(f"progress_info is an object, not {type(value).__name__}")
        if STEPS in plain:
            raise ProgressRefused(f"the member {STEPS!r} is made by begin_step and end_step; give yours another name")
        if size > INFO_MAX:
            raise ProgressRefused(f"progress_info has {size:,} characters as JSON; at most {INFO_MAX:,} are kept")
        with self._lock:
            self._free = plain
            self._version += 1

    def begin(self, name: str, monotonic: float) -> None:
        """The step runs from now on; one that there was before begins anew. Raises ProgressRefused."""
        plain = _step_name(name)
        with self._lock:
            if plain not in self._steps and len(self._steps) == STEPS_MAX:
                raise ProgressRefused(f"a job has at most {STEPS_MAX} steps")
            if not self._over:
                self._steps[plain] = _Step("running", monotonic)
                self._first = monotonic if self._first is None else self._first
                self._version += 1

    def end(self, name: str, monotonic: float, *, failed: bool) -> None:
        """The step, which runs, is done or has failed. Raises ProgressRefused."""
        with self._lock:
            step = self._steps.get(name)
            if self._over:
                return
            if step is None or step.status != "running":
                raise ProgressRefused(f"step {name!r} is not running; begin_step comes first")
            _end(step, monotonic, failed)
            self._version += 1

    def close(self, monotonic: float, *, failed: bool) -> None:
        """The run is over, and so are the steps that still run. What is told from now on counts for nothing."""
        with self._lock:
            self._over = True
            for step in self._steps.values():
                if step.status == "running":
                    _end(step, monotonic, failed)
                    self._version += 1

    # How it is stored: the text for the SQL function `dated_steps`, which makes dates of the offsets.

    def text(self, started_at: float | None) -> str:
        """All of it; offsets are microseconds from `started_at`, the monotonic start of the run."""
        with self._lock:
            return self._text(started_at)

    def unwritten(self, started_at: float | None) -> tuple[int, str] | None:
        """The same with its version, or None where that one is written already."""
        with self._lock:
            return None if self._version == self._written else (self._version, self._text(started_at))

    def written(self, version: int) -> None:
        """What `unwritten` gave under this version is stored."""
        with self._lock:
            self._written = max(self._written, version)

    # How it crosses the border of a process. The monotonic clock is the same on both sides.

    def told(self) -> str | None:
        """JSON text for `take_over`; None where nothing changed since the last call."""
        with self._lock:
            if self._version == self._written:
                return None
            self._written = self._version
            steps = {name: (step.status, step.begun, step.seconds) for name, step in self._steps.items()}
            return dump({"free": self._free, "first": self._first, STEPS: steps})

    def take_over(self, text: str) -> None:
        """Becomes what another process told."""
        told = json.loads(text)
        with self._lock:
            if not self._over:
                self._free, self._first = told["free"], told["first"]
                self._steps = {name: _Step(*step) for name, step in told[STEPS].items()}
                self._version += 1

    def _text(self, started_at: float | None) -> str:
        if self._first is None:
            return dump(self._free)
        base = None if started_at is None else min(started_at, self._first)
        return dump({**self._free, STEPS: {name: _stored(step, base) for name, step in self._steps.items()}})


def _step_name(name: str) -> str:
    if not isinstance(name, str) or not 0 < len(name) <= STEP_NAME_MAX:
        raise ProgressRefused(f"the name of a step is a text of at most {STEP_NAME_MAX} characters, not {name!r}")
    try:
        plain: str = to_plain(name, 1)
    except NotJson as error:
        raise ProgressRefused(f"the name of step {name!r}: {error.reason}") from None
    return plain


def _end(step: _Step, monotonic: float, failed: bool) -> None:
    step.status = "failed" if failed else "done"
    step.seconds = max(0.0, monotonic - step.begun)


def _stored(step: _Step, base: float | None) -> dict[str, Any]:
    begun = None if base is None else round((step.begun - base) * 1e6)
    return {"status": step.status, "at": begun, "took": None if step.seconds is None else round(step.seconds * 1e6)}
