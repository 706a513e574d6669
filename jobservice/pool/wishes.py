"""Owns what a job asks to happen with its success: jobs to submit, and changes of stages."""

from collections.abc import Iterable
from typing import Any

from jobservice.domain.outcomes import Succeeded
from jobservice.sdk.json_values import dump


class Wishes:
    """Kept by the run; written in the transaction that records the success, and by no other."""

    __slots__ = ("_next_jobs", "_stage_changes")

    def __init__(self) -> None:
        self._next_jobs: list[dict[str, Any]] = []
        self._stage_changes: list[dict[str, Any]] = []

    def submit(self, jobs: Iterable[dict[str, Any]]) -> None:
        """Submissions."""
        self._next_jobs.extend(jobs)

    def change_stage(self, change: dict[str, Any]) -> None:
        """One element for the SQL function `change_stages`."""
        self._stage_changes.append(change)

    def succeeded(self, result: str | None, result_class: str | None) -> Succeeded:
        """The outcome with them."""
        return Succeeded(
            result=result,
            result_class=result_class,
            next_jobs=dump(self._next_jobs) if self._next_jobs else None,
            stage_changes=dump(self._stage_changes) if self._stage_changes else None,
        )
