"""Looks once a second, and at the next trigger date, for what has come due; does it, and wakes who waits for it."""

from collections.abc import Callable

import structlog

from jobservice.lifecycle.claim import Claimer
from jobservice.lifecycle.upkeep import BATCH, Due, Upkeep
from jobservice.store.session import Session

log = structlog.get_logger(__name__)

INTERVAL = 1.0


class DueWork:
    """`run_once` belongs to a Loop; NOTIFY of a near trigger date wakes it."""

    def __init__(
        self,
        *,
        session: Session,
        upkeep: Upkeep,
        claimer: Claimer,
        sweep: Callable[[], None],
        queued: Callable[[], None],
    ) -> None:
        self._session = session
        self._upkeep = upkeep
        self._claimer = claimer
        self._sweep = sweep
        self._queued = queued

    async def run_once(self) -> float | None:
        """One look, and one batch of each kind that is due. Raises UnavailableError."""
        async with self._session.use() as connection:
            due = await self._upkeep.look(connection)
        more = await self._do(due)
        if more:
            return 0
        if due.next_trigger is not None and due.next_trigger < INTERVAL:
            return max(due.next_trigger, 0.005)
        return INTERVAL

    async def _do(self, due: Due) -> bool:
        more = False
        async with self._session.use() as connection:
            if due.next_trigger is not None and due.next_trigger <= 0:
                enqueued = await self._upkeep.enqueue_due(connection)
                log.info("job.enqueue_due", jobs=enqueued)
                more |= enqueued == BATCH
                self._queued()
            if due.expired:
                expired = await self._upkeep.expire(connection)
                log.info("job.expire", jobs=expired)
                more |= expired == BATCH
            if due.blocked:
                await self._claimer.unblock(connection, await self._upkeep.blocked_keys(connection))
        if due.unpublished or due.expired or (due.next_trigger is not None and due.next_trigger <= 0):
            self._sweep()
        return more
