"""Owns how far a run has come, as its job tells it. Any thread may tell; the daemon takes what changed, now and then.

It never writes anywhere, and the percentage never falls.
"""

import time
from collections.abc import Mapping
from dataclasses import dataclass
from threading import Lock
from typing import Any, Final
from uuid import UUID

from jobservice.domain.names import clean_text
from jobservice.sdk.progress_info import ProgressInfo

MESSAGE_MAX: Final = 2_000
"""Longest progress message that is kept, in characters."""
_COUNT_MAX: Final = 2**63 - 1


@dataclass(frozen=True, slots=True)
class ProgressSnapshot:
    """What is stored and shown of a run's progress."""

    done: int
    total: int
    message: str | None
    percent: int


class Progress:
    """Done out of total. A total of 0 means: not known, and the percentage stays where it is."""

    __slots__ = ("_dirty", "_lock", "_went_on_from", "done", "info", "message", "percent", "pipeline_of_parts", "total")

    def __init__(self) -> None:
        self._lock = Lock()
        self._dirty = False
        self._went_on_from: int | None = None
        self.done = 0
        self.total = 0
        self.percent = 0
        self.message: str | None = None
        self.info: ProgressInfo | None = None
        """None until the job tells of one."""
        self.pipeline_of_parts: UUID | None = None
        """Of the run of a part: whose parts these are waits for their pipeline."""

    def advance(self, count: int) -> None:
        """`count` more are done; what is not positive changes nothing."""
        with self._lock:
            self.done = min(self.done + max(count, 0), _COUNT_MAX)
            self._changed()

    def update(self, done: int | None = None, total: int | None = None, message: str | None = None) -> None:
        """Sets what is given; negative counts are taken as 0."""
        with self._lock:
            if done is not None:
                self.done = _counted(done)
            if total is not None:
                self.total = _counted(total)
            if message is not None:
                self.message = clean_text(message, MESSAGE_MAX)
            self._changed()

    def goes_on_from(self, done: int) -> None:
        """So much was done before this run, which says nothing of its pace. Only the first call counts."""
        if self._went_on_from is None:
            self._went_on_from = _counted(done)

    def replace_info(self, value: Mapping[str, Any]) -> None:
        """Keeps a free object beside the counts. Raises ProgressRefused."""
        self._told_info().replace(value)
        self._dirty = True

    def begin_step(self, name: str) -> None:
        """A named step begins. Raises ProgressRefused."""
        self._told_info().begin(name, time.monotonic())
        self._dirty = True

    def end_step(self, name: str, *, failed: bool = False) -> None:
        """It has ended. Raises ProgressRefused."""
        self._told_info().end(name, time.monotonic(), failed=failed)
        self._dirty = True

    def take_over_info(self, told: str) -> None:
        """The same as another process told it."""
        self._told_info().take_over(told)
        self._dirty = True

    def take(self) -> ProgressSnapshot | None:
        """What is to be stored, or None when nothing changed since the last take."""
        if not self._dirty:
            return None
        with self._lock:
            self._dirty = False
            return self._now()

    def put_back(self) -> None:
        """What was taken could not be stored: the next take finds it again."""
        with self._lock:
            self._dirty = True

    def snapshot(self) -> ProgressSnapshot:
        """The progress as it stands; changes nothing."""
        with self._lock:
            return self._now()

    def remaining_seconds(self, elapsed: float) -> float | None:
        """Seconds still to run if the rest goes as fast as what is done; None while that says nothing."""
        done, total = self.done, self.total
        by_this_run = done - (self._went_on_from or 0)
        if total <= 0 or by_this_run <= 0 or elapsed < 0:
            return None
        return elapsed * (total - min(done, total)) / by_this_run

    def _told_info(self) -> ProgressInfo:
        with self._lock:
            if self.info is None:
                self.info = ProgressInfo()
            return self.info

    def _changed(self) -> None:
        if self.total > 0:
            self.percent = max(self.percent, min(100, 100 * self.done // self.total))
        self._dirty = True

    def _now(self) -> ProgressSnapshot:
        return ProgressSnapshot(done=self.done, total=self.total, message=self.message, percent=self.percent)


def _counted(count: int) -> int:
    return min(max(int(count), 0), _COUNT_MAX)
