"""Submits jobs: the one call of the SQL function `submit`, for every door that is not SQL itself."""

from pathlib import Path
from uuid import UUID

import asyncpg

from jobservice.store.sql import DEFAULT_SCHEMA, load

_FILE = Path(__file__).with_name("commands.sql")


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
