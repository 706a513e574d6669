"""Fires the ticks that have come, each exactly once, however many daemons look.

One transaction takes the rows of some schedules, submits for each and writes its next fire date and its waiting ticks;
who finds a row held leaves it to its holder. After a crash the rows say what they said before, nothing was submitted.
"""

from dataclasses import dataclass, field, replace
from datetime import datetime
from pathlib import Path
from typing import Any
from uuid import UUID

import asyncpg
import structlog

from jobservice.domain.cron import BadTiming
from jobservice.domain.errors import InvalidSubmission
from jobservice.domain.schedule_definition import Definition
from jobservice.domain.schedules import BATCH, Look, Missed, Tick, look
from jobservice.schedules.rows import definition_of
from jobservice.schedules.ticks import Ticks
from jobservice.schedules.waiting import WaitingTicks
from jobservice.store.failures import TRY_AGAIN, describe
from jobservice.store.sql import load

log = structlog.get_logger(__name__)

_FILE = Path(__file__).with_name("schedules.sql")
AT_ONCE = 20
"""Schedules looked at in one round, most often in one transaction: others use the connection, too."""


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
    waits: int = 0
    again: bool = False
    """What waits behind it, or has come since, has its turn in another look."""

    def tell(self, row: Any) -> None:
        told = log.bind(schedule=row["name"], tenant=row["tenant"])
        if self.fired:
            told.info("schedule.fire", ticks=self.fired, last_id=str(self.last_id))
        if self.error is not None:
            told.error("schedule.refuse", ticks=self.missed, reason=self.error)
        elif self.missed:
            told.warning("schedule.miss", ticks=self.missed, reason=str(self.why))
        if self.waits:
            told.info("schedule.delay", ticks=self.waits, reason="the pipeline of the tick before has not ended")


@dataclass(frozen=True, slots=True)
class _Plan:
    """What one look at a schedule comes to."""

    row: Any
    definition: Definition
    seen: Look

    @property
    def key(self) -> tuple[str, str]:
        return self.definition.tenant, self.definition.name


class _MustWait(Exception):
    """Somebody holds what the submission needs. It was taken back."""


class Firing:
    """The due schedules of one schema."""

    def __init__(self, *, schema: str) -> None:
        self._sql = load(_FILE, schema)
        self._ticks = Ticks(schema=schema)
        self._waiting = WaitingTicks(schema=schema)

    async def fire_due(self, connection: asyncpg.Connection) -> Fired:
        """Fires what is due or waits no more, some schedules in one transaction; it ends with one that must wait."""
        fired = Fired()
        served: list[tuple[str, str]] = []  # with as many ticks as one look fires: the others have their turn first
        looked = 0
        while looked < AT_ONCE:
            wanted = AT_ONCE - looked
            async with connection.transaction():
                rows = await self._lock_some(connection, fired.passed + served, wanted)
                done, waits = await self._fire_some(connection, rows)
            for row, each in done:
                each.tell(row)
            fired.ticks += sum(each.fired for _, each in done)
            fired.passed += waits
            served += [(row["tenant"], row["name"]) for row, each in done if each.fired >= BATCH]
            looked += len(done) + len(waits)
            if len(done) + len(waits) == len(rows) < wanted and not any(each.again for _, each in done):
                fired.more = bool(served)
                return fired
        fired.more = True
        return fired

    async def _lock_some(self, connection: asyncpg.Connection, passed: list[tuple[str, str]], most: int) -> list[Any]:
        """Those that are due, then those whose waiting ticks may fire."""
        passed_by: dict[str, Any] = {
            "passed_tenants": [tenant for tenant, _ in passed],
            "passed_names": [name for _, name in passed],
        }
        due = [row async for row in self._sql.lock_due(connection, batch=most, **passed_by)]
        freed = self._sql.lock_freed(connection, batch=most - len(due), **passed_by)
        return due + [row async for row in freed]

    async def _fire_some(
        self, connection: asyncpg.Connection, rows: list[Any]
    ) -> tuple[list[tuple[Any, _Done]], list[tuple[str, str]]]:
        """Up to the first one that must wait, which is told apart, or to so many ticks as make a transaction long."""
        plans, done = await self._planned(connection, rows)
        together = await self._submit_together(connection, plans)
        written: list[tuple[_Plan, _Done]] = []
        waits: list[tuple[str, str]] = []
        for plan in plans:
            try:
                written.append((plan, together.get(plan.key) or await self._submit(connection, plan)))
            except _MustWait as error:
                log.info("schedule.wait", schedule=plan.row["name"], tenant=plan.row["tenant"], reason=str(error))
                waits.append(plan.key)
                break
        await self._advance(connection, written)
        return [*done, *((plan.row, each) for plan, each in written)], waits

    async def _planned(
        self, connection: asyncpg.Connection, rows: list[Any]
    ) -> tuple[list[_Plan], list[tuple[Any, _Done]]]:
        """What each one comes to, up to so many ticks; those that cannot be reckoned are broken off and told apart."""
        plans: list[_Plan] = []
        broken: list[tuple[Any, _Done]] = []
        moment = await self._sql.moment(
            connection,
            job_ids=[row["last_job_id"] for row in rows],
            pipeline_ids=[row["last_pipeline_id"] for row in rows],
        )
        waiting = await self._waiting.read(connection, rows)
        for row, busy, waits in zip(rows, moment["busy"], waiting, strict=True):
            try:
                definition = definition_of(row)
                seen = look(
                    definition.timing,
                    row["next_fire_date"],
                    moment["now"],
                    definition.policy,
                    busy=busy,
                    waiting=waits,
                )
            except BadTiming as error:  # written by hand, or a zone that this machine does not know
                await self._sql.break_off(connection, tenant=row["tenant"], name=row["name"], error=str(error))
                broken.append((row, _Done(error=str(error))))
                continue
            plans.append(_Plan(row, definition, seen))
            if sum(len(plan.seen.ticks) for plan in plans) >= BATCH:
                break
        return plans, broken

    async def _submit_together(
        self, connection: asyncpg.Connection, plans: list[_Plan]
    ) -> dict[tuple[str, str], _Done]:
        """All jobs in one call. Nothing where one is refused or must wait: then each is submitted by itself."""
        of_jobs = [plan for plan in plans if plan.definition.job is not None and plan.seen.ticks]
        if len(of_jobs) < 2:
            return {}
        try:
            last_ids = await self._ticks.submit_jobs(
                connection, [(each.definition, each.seen.ticks) for each in of_jobs]
            )
        except InvalidSubmission:
            return {}
        except TRY_AGAIN:
            return {}
        return {plan.key: _fired(plan, last) for plan, last in zip(of_jobs, last_ids, strict=True)}

    async def _submit(self, connection: asyncpg.Connection, plan: _Plan) -> _Done:
        seen = plan.seen
        if not seen.ticks:
            return _done(plan)
        try:
            return _fired(plan, await self._ticks.submit(connection, plan.definition, seen.ticks))
        except TRY_AGAIN as error:  # in a savepoint: the transaction goes on
            raise _MustWait(describe(error)) from error
        except InvalidSubmission as refused:
            missed = seen.missed + len(seen.ticks)
            date = seen.ticks[-1].date
            done = replace(_done(plan), missed=missed, missed_date=date, why=Missed.REFUSED, error=str(refused))
            return replace(done, again=bool(seen.resumes))

    async def _advance(self, connection: asyncpg.Connection, written: list[tuple[_Plan, _Done]]) -> None:
        if not written:
            return
        await self._sql.advance(
            connection,
            tenants=[plan.definition.tenant for plan, _ in written],
            names=[plan.definition.name for plan, _ in written],
            next_dates=[plan.seen.next_date for plan, _ in written],
            fire_dates=[plan.seen.ticks[-1].date if done.fired else None for plan, done in written],
            job_ids=[done.last_id if plan.definition.job is not None else None for plan, done in written],
            pipeline_ids=[done.last_id if plan.definition.job is None else None for plan, done in written],
            fired=[done.fired for _, done in written],
            missed=[done.missed for _, done in written],
            missed_dates=[done.missed_date for _, done in written],
            reasons=[done.why for _, done in written],
            errors=[done.error for _, done in written],
        )
        await self._write_waiting(connection, [plan for plan, _ in written])

    async def _write_waiting(self, connection: asyncpg.Connection, plans: list[_Plan]) -> None:
        """Ticks that waited have fired, or were missed; others begin to wait."""
        begin = [(plan.key, Tick.of(date)) for plan in plans for date in plan.seen.waits]
        end = [(plan.key, tick) for plan in plans for tick in plan.seen.resumes + plan.seen.dropped]
        changed = [plan.key for plan in plans if plan.seen.waits or plan.row["waiting"]]
        await self._waiting.write(connection, schedules=changed, begin=begin, end=end)


def _done(plan: _Plan) -> _Done:
    seen = plan.seen
    again = not plan.definition.policy.one_by_one and bool(seen.resumes or seen.dropped)
    return _Done(missed=seen.missed, missed_date=seen.missed_date, why=seen.why, waits=len(seen.waits), again=again)


def _fired(plan: _Plan, last_id: UUID) -> _Done:
    return replace(_done(plan), fired=len(plan.seen.ticks), last_id=last_id)
