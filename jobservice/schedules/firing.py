"""Fires the ticks that have come, each exactly once, however many daemons look.

One transaction takes the schedule's row, submits and writes the next fire date; who finds a row held leaves it to its
holder. After a crash the row says what it said before, and nothing was submitted.
"""

from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any
from uuid import UUID

import asyncpg
import structlog

from jobservice.domain.cron import BadTiming
from jobservice.domain.errors import InvalidSubmission
from jobservice.domain.schedule_definition import Definition
from jobservice.domain.schedules import Look, Missed, look
from jobservice.schedules.rows import definition_of
from jobservice.schedules.ticks import Ticks
from jobservice.store.failures import TRY_AGAIN, describe
from jobservice.store.sql import load

log = structlog.get_logger(__name__)

_FILE = Path(__file__).with_name("schedules.sql")
AT_ONCE = 20
"""Schedules looked at in one round: others use the connection, too."""


@dataclass(slots=True)
class Fired:
    """What one round did. `more`: there may be more that is due."""

    ticks: int = 0
    more: bool = False
    passed: list[tuple[str, str]] = field(default_factory=list)
    """Schedules that could not submit now: somebody holds what they need."""


@dataclass(frozen=True, slots=True)
class _Done:
    """What was written of one schedule."""

    fired: int = 0
    last_id: UUID | None = None
    missed: int = 0
    missed_date: datetime | None = None
    why: Missed | None = None
    error: str | None = None

    def tell(self, row: Any) -> None:
        told = log.bind(schedule=row["name"], tenant=row["tenant"])
        if self.fired:
            told.info("schedule.fire", ticks=self.fired, last_id=str(self.last_id))
        if self.error is not None:
            told.error("schedule.refuse", ticks=self.missed, reason=self.error)
        elif self.missed:
            told.warning("schedule.miss", ticks=self.missed, reason=str(self.why))


class Firing:
    """The due schedules of one schema."""

    def __init__(self, *, schema: str) -> None:
        self._sql = load(_FILE, schema)
        self._ticks = Ticks(schema=schema)

    async def fire_due(self, connection: asyncpg.Connection) -> Fired:
        """Fires what is due, one transaction for each schedule."""
        fired = Fired()
        for _ in range(AT_ONCE):
            if not await self._fire_next(connection, fired):
                return fired
        fired.more = True
        return fired

    async def _fire_next(self, connection: asyncpg.Connection, fired: Fired) -> bool:
        """One schedule; False when none is left."""
        row: Any = None
        try:
            async with connection.transaction():
                row = await self._sql.lock_due(
                    connection,
                    passed_tenants=[tenant for tenant, _ in fired.passed],
                    passed_names=[name for _, name in fired.passed],
                )
                done = None if row is None else await self._fire(connection, row)
        except TRY_AGAIN as error:
            if row is None:
                raise
            log.info("schedule.wait", schedule=row["name"], tenant=row["tenant"], reason=describe(error))
            fired.passed.append((row["tenant"], row["name"]))
            return True
        if done is None:
            return False
        done.tell(row)
        fired.ticks += done.fired
        return True

    async def _fire(self, connection: asyncpg.Connection, row: Any) -> _Done:
        moment = await self._sql.moment(connection, job_id=row["last_job_id"], pipeline_id=row["last_pipeline_id"])
        try:
            definition = definition_of(row)
            seen = look(definition.timing, row["next_fire_date"], moment["now"], definition.policy, busy=moment["busy"])
        except BadTiming as error:  # written by hand, or a zone that this machine does not know
            await self._sql.break_off(connection, tenant=row["tenant"], name=row["name"], error=str(error))
            return _Done(error=str(error))
        done = await self._submit(connection, definition, seen)
        await self._sql.advance(
            connection,
            tenant=definition.tenant,
            name=definition.name,
            next_date=seen.next_date,
            fire_date=seen.fires[-1] if done.fired else None,
            job_id=done.last_id if definition.job is not None else None,
            pipeline_id=done.last_id if definition.job is None else None,
            fired=done.fired,
            missed=done.missed,
            missed_date=done.missed_date,
            reason=done.why,
            error=done.error,
        )
        return done

    async def _submit(self, connection: asyncpg.Connection, definition: Definition, seen: Look) -> _Done:
        if not seen.fires:
            return _Done(missed=seen.missed, missed_date=seen.missed_date, why=seen.why)
        try:
            last = await self._ticks.submit(connection, definition, seen.fires)
        except InvalidSubmission as refused:
            missed = seen.missed + len(seen.fires)
            return _Done(missed=missed, missed_date=seen.fires[-1], why=Missed.REFUSED, error=str(refused))
        return _Done(len(seen.fires), last, seen.missed, seen.missed_date, seen.why)
