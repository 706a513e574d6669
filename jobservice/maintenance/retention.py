"""Deletes ended jobs that nobody needs any more, in bounded batches; never a locked or an unpublished one."""

import structlog

from jobservice.domain.states import JobStatus
from jobservice.lifecycle.upkeep import BATCH, FIRST_KEY, Upkeep
from jobservice.store.session import Session

log = structlog.get_logger(__name__)

INTERVAL = 60.0
PAUSE_BETWEEN_BATCHES = 0.05
DAEMONS_KEPT_SECONDS = 86_400.0


class Retention:
    """`run_once` belongs to a Loop. Seconds of 0 keep that kind for ever."""

    def __init__(self, *, session: Session, upkeep: Upkeep, succeeded: float, failed: float, pending: float) -> None:
        self._session = session
        self._upkeep = upkeep
        self._kept = {
            JobStatus.SUCCEEDED: succeeded,
            JobStatus.FAILED: failed,
            JobStatus.ABORTED: failed,
        }
        self._pending = pending
        self._keys_after = FIRST_KEY

    async def run_once(self) -> float | None:
        """One batch of each kind; again soon where a batch was full. Raises UnavailableError."""
        full = False
        for status, seconds in self._kept.items():
            if seconds > 0:
                full |= await self._clean(status, seconds)
        async with self._session.use() as connection:
            if self._pending > 0:
                full |= await self._upkeep.abandon_pending(connection, older_than=self._pending) == BATCH
            await self._upkeep.forget_daemons(connection, older_than=DAEMONS_KEPT_SECONDS)
            _, self._keys_after = await self._upkeep.forget_keys(connection, after=self._keys_after)
        return PAUSE_BETWEEN_BATCHES if full or self._keys_after != FIRST_KEY else INTERVAL

    async def _clean(self, status: JobStatus, seconds: float) -> bool:
        async with self._session.use() as connection:
            deleted = await self._upkeep.clean(connection, status, older_than=seconds)
        if deleted:
            log.info("job.clean", status=status.value, jobs=deleted)
        return deleted == BATCH
