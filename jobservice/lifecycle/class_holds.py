"""Holds of job classes: nothing of a held class starts until it is released; what runs goes on.

Called by the client's operations, by the door for commands and by the breaker, each with a connection of its own.
"""

from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Final

import asyncpg

from jobservice.domain.errors import InvalidSubmission
from jobservice.domain.names import is_name
from jobservice.store.sql import DEFAULT_SCHEMA, load

_FILE = Path(__file__).with_suffix(".sql")

ALL_CLASSES: Final = "*"
"""In the place of a class: all of them, also those that nobody knows yet."""


@dataclass(frozen=True, slots=True, kw_only=True)
class HeldClass:
    """A job class that is held, `*` for all, since when and why."""

    job_class: str
    reason: str | None
    created_date: datetime
    put_aside: int
    """Queued jobs that claims have met since, and put aside; at most 10,001."""


class ClassHolds:
    """The holds of one schema."""

    def __init__(self, *, schema: str = DEFAULT_SCHEMA) -> None:
        self._sql = load(_FILE, schema)

    async def hold(self, connection: asyncpg.Connection, job_class: str, *, reason: str | None = None) -> bool:
        """Holds a class; False where it is held already, and that hold stays as it is. Raises InvalidSubmission.

        Waits for the claims under way: none that comes after the commit starts a job of the class.
        """
        if job_class != ALL_CLASSES and not is_name(job_class):
            raise InvalidSubmission(f"{job_class!r} is no job class, and not {ALL_CLASSES} for all", field="job_class")
        return bool(await self._sql.hold(connection, job_class=job_class, reason=reason))

    async def release(self, connection: asyncpg.Connection, job_class: str) -> bool:
        """Releases a class; False where it was not held. `*` releases what was held with `*`, not single classes."""
        return bool(await self._sql.release(connection, job_class=job_class))

    async def held(self, connection: asyncpg.Connection) -> list[HeldClass]:
        """What is held: `*` first, then by name."""
        return [HeldClass(**row) async for row in self._sql.held(connection)]
