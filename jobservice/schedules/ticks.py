"""Submits what a tick submits, all or nothing, and tells a refusal from trouble. Called by whoever fires."""

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from itertools import accumulate
from pathlib import Path
from typing import Any
from uuid import UUID

import asyncpg

from jobservice.domain.errors import InvalidSubmission
from jobservice.domain.late_binding import BadBinding
from jobservice.domain.schedule_definition import Definition
from jobservice.sdk.json_values import dump
from jobservice.store.failures import describe, refusal
from jobservice.store.sql import load

_FILE = Path(__file__).with_name("schedules.sql")
_REFUSED = (asyncpg.DataError, asyncpg.IntegrityConstraintViolationError, asyncpg.ProgramLimitExceededError)


class Ticks:
    """The SQL functions `submit` and `submit_pipeline`, for schedules."""

    def __init__(self, *, schema: str) -> None:
        self._sql = load(_FILE, schema)

    async def submit(self, connection: asyncpg.Connection, definition: Definition, dates: Sequence[datetime]) -> UUID:
        """Submits the ticks of these dates in their order; the id of the last one. In a savepoint of its own.

        Raises InvalidSubmission where one is refused: then none was submitted.
        """
        return await self._all(connection, definition, [(date, date.astimezone(UTC).isoformat()) for date in dates])

    async def submit_jobs(
        self, connection: asyncpg.Connection, schedules: Sequence[tuple[Definition, Sequence[datetime]]]
    ) -> list[UUID]:
        """Submits the ticks of several schedules of jobs; the id of the last one of each. As `submit`."""
        documents = [
            _document(definition, date, date.astimezone(UTC).isoformat())
            for definition, dates in schedules
            for date in dates
        ]
        async with _refusals(connection):
            rows = [row async for row in self._sql.submit_jobs(connection, jobs=dump(documents))]
        ends = accumulate(len(dates) for _, dates in schedules)
        return [rows[end - 1]["id"] for end in ends]

    async def submit_besides(
        self, connection: asyncpg.Connection, definition: Definition, date: datetime, *, key: str | None
    ) -> UUID:
        """Submits a tick beside those of the fire dates; the same `key` again gives the same id. As `submit`."""
        return await self._all(connection, definition, [(date, key)])

    async def _all(
        self, connection: asyncpg.Connection, definition: Definition, ticks: Sequence[tuple[datetime, str | None]]
    ) -> UUID:
        documents = [_document(definition, date, key) for date, key in ticks]
        async with _refusals(connection):
            return await self._submit(connection, definition, documents)

    async def submitted(self, connection: asyncpg.Connection, definition: Definition, key: str) -> UUID | None:
        """What `submit_besides` has submitted with this key."""
        submitted: UUID | None
        tenant, stored = definition.tenant, definition.key_of(key)
        if definition.job is None:
            submitted = await self._sql.pipeline_of_key(connection, tenant=tenant, key=stored)
        else:
            submitted = await self._sql.job_of_key(connection, tenant=tenant, key=stored)
        return submitted

    async def rehearse(self, connection: asyncpg.Connection, definition: Definition, date: datetime) -> None:
        """Submits a tick and takes it back: every rule of submissions holds for it. Raises InvalidSubmission."""
        savepoint = connection.transaction()
        await savepoint.start()
        try:
            await self.submit(connection, definition, [date])
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


def _document(definition: Definition, date: datetime, key: str | None) -> dict[str, Any]:
    try:
        return definition.submission(date, key=key)
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
