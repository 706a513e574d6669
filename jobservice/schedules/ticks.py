"""Submits what a tick submits, all or nothing, and tells a refusal from trouble. Called by whoever fires."""

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from itertools import accumulate
from pathlib import Path
from typing import Any
from uuid import UUID

import asyncpg

from jobservice.domain.errors import InvalidSubmission
from jobservice.domain.late_binding import BadBinding
from jobservice.domain.schedule_definition import Definition
from jobservice.domain.schedules import Tick
from jobservice.sdk.json_values import dump
from jobservice.store.failures import describe, refusal
from jobservice.store.sql import load

_FILE = Path(__file__).with_name("schedules.sql")
_REFUSED = (asyncpg.DataError, asyncpg.IntegrityConstraintViolationError, asyncpg.ProgramLimitExceededError)


class Ticks:
    """The SQL functions `submit` and `submit_pipeline`, for schedules."""

    def __init__(self, *, schema: str) -> None:
        self._sql = load(_FILE, schema)

    async def submit(self, connection: asyncpg.Connection, definition: Definition, ticks: Sequence[Tick]) -> UUID:
        """Submits these ticks in their order; the id of the last one. A tick again gives the same id.

        In a savepoint of its own. Raises InvalidSubmission where one is refused: then none was submitted.
        """
        documents = [_document(definition, tick) for tick in ticks]
        async with _refusals(connection):
            return await self._submit(connection, definition, documents)

    async def submit_jobs(
        self, connection: asyncpg.Connection, schedules: Sequence[tuple[Definition, Sequence[Tick]]]
    ) -> list[UUID]:
        """Submits the ticks of several schedules of jobs; the id of the last one of each. As `submit`."""
        documents = [_document(definition, tick) for definition, ticks in schedules for tick in ticks]
        async with _refusals(connection):
            rows = [row async for row in self._sql.submit_jobs(connection, jobs=dump(documents))]
        ends = accumulate(len(ticks) for _, ticks in schedules)
        return [rows[end - 1]["id"] for end in ends]

    async def submitted(self, connection: asyncpg.Connection, definition: Definition, key: str) -> UUID | None:
        """What was submitted as the tick of this key."""
        submitted: UUID | None
        tenant, stored = definition.tenant, definition.key_of(key)
        if definition.job is None:
            submitted = await self._sql.pipeline_of_key(connection, tenant=tenant, key=stored)
        else:
            submitted = await self._sql.job_of_key(connection, tenant=tenant, key=stored)
        return submitted

    async def rehearse(self, connection: asyncpg.Connection, definition: Definition, tick: Tick) -> None:
        """Submits a tick and takes it back: every rule of submissions holds for it. Raises InvalidSubmission."""
        savepoint = connection.transaction()
        await savepoint.start()
        try:
            await self.submit(connection, definition, [tick])
        finally:
            await savepoint.rollback()

    async def _submit(
        self, connection: asyncpg.Connection, definition: Definition, documents: list[dict[str, Any]]
    ) -> UUID:
        if definition.job is not None:
            rows = [row async for row in self._sql.submit_jobs(connection, jobs=dump(documents))]
        else:
            rows = [await self._sql.submit_pipeline(connection, pipeline=dump(each)) for each in documents]
        last: UUID = rows[-1]["id"]
        return last


def _document(definition: Definition, tick: Tick) -> dict[str, Any]:
    try:
        return definition.submission(tick)
    except BadBinding as error:
        raise InvalidSubmission(str(error)) from None


@asynccontextmanager
async def _refusals(connection: asyncpg.Connection) -> AsyncIterator[None]:
    """In a savepoint. What the database does not take is an InvalidSubmission."""
    try:
        async with connection.transaction():
            yield
    except _REFUSED as error:
        refused = refusal(error)
        if isinstance(refused, InvalidSubmission):
            raise refused from None
        raise InvalidSubmission(f"the database refuses it: {describe(error)}", code="refused") from error
