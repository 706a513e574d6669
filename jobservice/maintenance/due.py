"""Looks once a second, and at the next date of a job or a schedule, for what has come due; does it, tells who waits.

It also looks whether there is something to claim, for the scheduler, who then asks by himself seldom: a look reads, a
claim takes the queue's lock and commits.
"""

from collections.abc import Callable, Sequence
from time import monotonic

import asyncpg
import structlog

from jobservice.lifecycle.claim import Claimer
from jobservice.lifecycle.upkeep import BATCH, FIRST_KEY, Due, Upkeep
from jobservice.schedules.firing import Firing
from jobservice.store.session import Session
from jobservice.workflow.settling import Settler

log = structlog.get_logger(__name__)

INTERVAL = 1.0
SOON = 0.005


class DueWork:
    """`run_once` belongs to a Loop; NOTIFY of a near date wakes it."""

    def __init__(
        self,
        *,
        session: Session,
        upkeep: Upkeep,
        claimer: Claimer,
        settler: Settler,
        firing: Firing,
        sweep: Callable[[], None],
        queued: Callable[[], None],
        queues: Sequence[str] = (),
        poll: float = INTERVAL,
    ) -> None:
        """`queued` is called when there may be something to claim; in `queues` it is looked for each `poll` seconds."""
        self._session = session
        self._upkeep = upkeep
        self._claimer = claimer
        self._settler = settler
        self._firing = firing
        self._sweep = sweep
        self._queued = queued
        self._queues = queues
        self._poll = poll
        self._asked_at: float | None = None
        self._keys_after = FIRST_KEY
        self._more_to_settle = False
        self._more_to_fire = False
        self._more_to_raise = False

    async def run_once(self) -> float | None:
        """One look, and one batch of each kind that is due. Raises UnavailableError."""
        async with self._session.use() as connection:
            due = await self._upkeep.look(connection, self._to_ask_for())
        if due.claimable:
            self._queued()
        enqueued, expired = await self._do(due)
        if BATCH in (enqueued, expired):
            return 0
        if self._more_to_settle or self._more_to_fire or self._more_to_raise or enqueued:
            return SOON  # the next date is not known yet
        dates = [each for each in (due.next_trigger, due.next_fire, due.next_step) if each is not None and each > 0]
        # Where somebody holds the row of what is due, it is looked at after the interval.
        return max(min([*dates, INTERVAL, self._poll]), SOON)

    def _to_ask_for(self) -> Sequence[str]:
        now = monotonic()
        if self._poll > INTERVAL and self._asked_at is not None and now < self._asked_at + self._poll:
            return ()
        self._asked_at = now
        return self._queues

    async def _fire(self) -> int:
        async with self._session.use() as connection:
            fired = await self._firing.fire_due(connection)
        self._more_to_fire = fired.more or fired.ticks > 0
        return fired.ticks

    async def _unblock(self, connection: asyncpg.Connection) -> None:
        """One batch of keys, each time the next one: in turn each of them is looked at."""
        keys = await self._upkeep.blocked_keys(connection, after=self._keys_after)
        self._keys_after = keys[-1] if len(keys) == BATCH else FIRST_KEY
        await self._claimer.unblock(connection, keys)

    async def _raise(self, connection: asyncpg.Connection) -> None:
        raised, self._more_to_raise = await self._upkeep.raise_waiting(connection)
        if raised:
            log.info("job.raise", jobs=raised)

    async def _do(self, due: Due) -> tuple[int, int]:
        enqueued = expired = ticks = 0
        self._more_to_settle = self._more_to_fire = self._more_to_raise = False
        async with self._session.use() as connection:
            if due.next_trigger is not None and due.next_trigger <= 0:
                enqueued = await self._upkeep.enqueue_due(connection)
            if due.expired:
                expired = await self._upkeep.expire(connection)
            if due.blocked:
                await self._unblock(connection)
            if due.unsettled:
                self._more_to_settle = await self._settler.settle_next(connection)
            if due.next_step is not None and due.next_step <= 0:
                await self._raise(connection)
        if due.next_fire is not None and due.next_fire <= 0:
            ticks = await self._fire()
        if enqueued:
            log.info("job.enqueue_due", jobs=enqueued)
            self._queued()
        if expired:
            log.info("job.expire", jobs=expired)
        if due.unsettled or ticks:
            self._queued()
        if due.unpublished or due.unsettled or enqueued or expired or ticks:
            self._sweep()
        return enqueued, expired
