"""Owns what a job asks to happen with its success: jobs to submit, and changes of stages."""

import json
from collections.abc import Iterable, Mapping
from typing import Any

from jobservice.domain.outcomes import Succeeded
from jobservice.sdk.json_values import dump


class Wishes:
    """Kept by the run; written in the transaction that records the success, and by no other.

    A job with steps may succeed in another run than the one that was asked: what a step wishes is kept with it, and
    added in the runs that find it done.
    """

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

    def mark(self) -> tuple[int, int]:
        """Where they are, to go back to."""
        return len(self._next_jobs), len(self._stage_changes)

    def go_back(self, mark: tuple[int, int]) -> None:
        """What was wished since then is not."""
        del self._next_jobs[mark[0] :], self._stage_changes[mark[1] :]

    def since(self, mark: tuple[int, int]) -> dict[str, Any]:
        """What was wished since then, as JSON for `add`; empty where that is nothing."""
        if self.mark() == mark:
            return {}
        kept = {"next_jobs": self._next_jobs[mark[0] :], "stage_changes": self._stage_changes[mark[1] :]}
        wished: dict[str, Any] = json.loads(dump(kept))
        return wished

    def add(self, wished: Mapping[str, Any]) -> None:
        """What `since` gave."""
        self._next_jobs.extend(wished.get("next_jobs", ()))
        self._stage_changes.extend(wished.get("stage_changes", ()))

    def succeeded(self, result: str | None, result_class: str | None) -> Succeeded:
        """The outcome with them."""
        return Succeeded(
            result=result,
            result_class=result_class,
            next_jobs=dump(self._next_jobs) if self._next_jobs else None,
            stage_changes=dump(self._stage_changes) if self._stage_changes else None,
        )
