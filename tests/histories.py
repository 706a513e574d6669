"""Reads whole lives out of the outbox: complete, in order, legal, and where the row says that they have come."""

from collections.abc import Mapping
from itertools import pairwise
from uuid import UUID

import asyncpg
from factory import outbox_rows

from jobservice.domain.facts import Fact
from jobservice.domain.states import JobStatus
from jobservice.domain.transitions import TRANSITIONS

STEPS = {(status, to) for (status, _), targets in TRANSITIONS.items() for to in targets if status is not to} | {
    # Restarted with its pipeline, a job waits for its stage again.
    (JobStatus.FAILED, JobStatus.PENDING), (JobStatus.ABORTED, JobStatus.PENDING),
}  # fmt: skip


async def histories(connection: asyncpg.Connection) -> dict[UUID, list[Fact]]:
    """The facts of each job in the order of the outbox, of which nothing may have been deleted."""
    told: dict[UUID, list[Fact]] = {}
    for row in await outbox_rows(connection):
        assert len({(fact.job_id, fact.sequence) for fact in row}) == len(row)
        for fact in row:
            told.setdefault(fact.job_id, []).append(fact)
    return told


async def check_histories(connection: asyncpg.Connection, born: Mapping[UUID, int] | int = 0) -> None:
    """Each job's facts follow each other without a gap up to its row. `born` is the sequence before the first fact."""
    told = await histories(connection)
    rows = await connection.fetch("SELECT id, status, sequence, run FROM jobservice.job_info")
    for row in rows:
        start = born if isinstance(born, int) else born[row["id"]]
        facts = told.pop(row["id"], [])
        assert [fact.sequence for fact in facts] == list(range(start + 1, row["sequence"] + 1))
        for before, after in pairwise(facts):
            check_step(before, after)
        if facts:
            assert (facts[-1].status, facts[-1].run) == (row["status"], row["run"])
    assert told == {}, "facts of jobs that there are not"


def check_step(before: Fact, after: Fact) -> None:
    """One status change: legal, told of what was there, and no earlier than what came before."""
    assert after.previous_status is before.status
    assert (before.status, after.status) in STEPS
    assert after.time >= before.time
    assert after.run == before.run + (after.status is JobStatus.TO_BE_RUN)
