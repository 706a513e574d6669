"""Submits jobs: the one call of the SQL function `submit`, for every door that is not SQL itself."""

from dataclasses import dataclass
from pathlib import Path
from uuid import UUID

import asyncpg

from jobservice.store.sql import DEFAULT_SCHEMA, load
from jobservice.store.transactions import LOCK_TIMEOUT

_FILE = Path(__file__).with_suffix(".sql")


@dataclass(frozen=True, slots=True)
class Submitted:
    """Of each job, in order, its id and whether it is new; and the queues of which no event is published."""

    jobs: list[tuple[UUID, bool]]
    unpublished: tuple[str, ...]


class Submitter:
    """The SQL function `submit` of one schema."""

    def __init__(self, *, schema: str = DEFAULT_SCHEMA) -> None:
        self._sql = load(_FILE, schema)

    async def submit(self, connection: asyncpg.Connection, jobs: str) -> list[tuple[UUID, bool]]:
        """Submits a JSON array: for each job, in order, its id and whether it is new (not known by its key).

        All or none. A refusal is the driver's error, which whoever gave the connection translates
        (`store.failures`): InvalidSubmission with code, field and index.
        """
        return [(row["job_id"], row["created"]) async for row in self._sql.submit(connection, jobs=jobs)]

    async def submit_told(self, connection: asyncpg.Connection, jobs: str) -> Submitted:
        """The same, for a submitter who may know no more of the jobs than what events tell."""
        bound = f"{LOCK_TIMEOUT:g}s"
        rows = [row async for row in self._sql.submit_told(connection, jobs=jobs, lock_timeout=bound)]
        unpublished = rows[0]["unpublished"] if rows else None
        return Submitted([(row["job_id"], row["created"]) for row in rows], tuple(unpublished or ()))
