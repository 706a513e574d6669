"""What follows from changes of jobs that belong to stages, as the writers of job state see it.

The writers know no pipeline: they hand what they changed to a Follower, in the same transaction.
"""

from collections.abc import Collection, Iterable, Mapping, Sequence
from datetime import datetime
from typing import NamedTuple, Protocol
from uuid import UUID

import asyncpg

from jobservice.domain.outcomes import Outcome, Retried
from jobservice.domain.states import JobStatus


class StageChange(NamedTuple):
    """One job of a stage: `started`, `retried`, or the final status that it has now."""

    stage_id: UUID
    change: str
    start_date: datetime | None = None
    """Of what has started: when."""


class Follower(Protocol):
    """Who is told of them, before the commit."""

    async def settle(self, connection: asyncpg.Connection, changes: Sequence[StageChange]) -> None:
        """Counts them and moves on what they move. LockNotAvailableError where somebody holds what they belong to."""

    async def start_parts(
        self, connection: asyncpg.Connection, plans: Mapping[UUID, str], touched: Sequence[UUID]
    ) -> None:
        """These jobs wait for parts of themselves: makes them as planned, or lets the failed ones run again.

        `touched` as for `change_stages`. LockNotAvailableError where somebody holds the parts.
        """

    async def change_stages(self, connection: asyncpg.Connection, changes: str, touched: Sequence[UUID]) -> None:
        """What jobs asked for with their success, as a JSON array.

        `touched` are the stages of all jobs that this transaction has changed: who locks, locks for them as well.
        """

    async def held(self, connection: asyncpg.Connection, stages: Collection[UUID]) -> set[UUID]:
        """Those of these stages of which somebody holds what they belong to."""


def changes_of_run(row: asyncpg.Record, stage_id: UUID, outcome: Outcome | None) -> Iterable[StageChange]:
    """What a row that a flush returned says of a job of this stage."""
    if row["starts"]:
        yield StageChange(stage_id, "started", row["start_date"])
    if row["ends"]:
        status = JobStatus(row["status"])
        if status.final:
            yield StageChange(stage_id, status.value)
        elif isinstance(outcome, Retried):
            yield StageChange(stage_id, "retried")


def changes_of_rows(rows: Iterable[asyncpg.Record]) -> list[StageChange]:
    """What rows with `stage_id` and `status` say: those that ended jobs of stages."""
    return [
        StageChange(row["stage_id"], row["status"])
        for row in rows
        if row["stage_id"] is not None and JobStatus(row["status"]).final
    ]


def joined(arrays: Iterable[str]) -> str:
    """One JSON array of the elements of several, none of which is empty."""
    return f"[{','.join(array[1:-1] for array in arrays)}]"
