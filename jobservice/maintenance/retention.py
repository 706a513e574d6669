"""Deletes jobs, pipelines and instances that nobody needs any more, in bounded batches; never locked or unpublished."""

import asyncpg
import structlog

from jobservice.domain.pipelines import PipelineStatus
from jobservice.domain.states import JobStatus
from jobservice.lifecycle.upkeep import BATCH, FIRST_INSTANCE, FIRST_KEY, Upkeep
from jobservice.store.session import Session
from jobservice.workflow.cleaning import PipelineCleaner

log = structlog.get_logger(__name__)

INTERVAL = 60.0
PAUSE_BETWEEN_BATCHES = 0.05
DAEMONS_KEPT_SECONDS = 86_400.0


class Retention:
    """`run_once` belongs to a Loop. Seconds of 0 keep that kind for ever."""

    def __init__(
        self,
        *,
        session: Session,
        upkeep: Upkeep,
        cleaner: PipelineCleaner,
        succeeded: float,
        failed: float,
        pending: float,
        instances: float,
    ) -> None:
        self._session = session
        self._upkeep = upkeep
        self._cleaner = cleaner
        self._kept = {
            JobStatus.SUCCEEDED: succeeded,
            JobStatus.FAILED: failed,
            JobStatus.ABORTED: failed,
        }
        self._pending = pending
        self._instances = instances
        self._instances_after = FIRST_INSTANCE
        self._keys_after = FIRST_KEY

    async def run_once(self) -> float | None:
        """One batch of each kind; again soon where a batch was full. Raises UnavailableError."""
        full = False
        for status, seconds in self._kept.items():
            if seconds > 0:
                full |= await self._clean(status, seconds)
                full |= await self._clean_pipelines(PipelineStatus(status), seconds)
        async with self._session.use() as connection:
            if self._pending > 0:
                full |= await self._upkeep.abandon_pending(connection, older_than=self._pending) == BATCH
                full |= await self._cleaner.abandon(connection, older_than=self._pending)
            await self._upkeep.forget_daemons(connection, older_than=DAEMONS_KEPT_SECONDS)
            _, self._keys_after = await self._upkeep.forget_keys(connection, after=self._keys_after)
            full |= await self._clean_instances(connection)
        return PAUSE_BETWEEN_BATCHES if full or self._keys_after != FIRST_KEY else INTERVAL

    async def _clean_instances(self, connection: asyncpg.Connection) -> bool:
        if self._instances == 0:
            return False
        deleted, self._instances_after = await self._upkeep.clean_instances(
            connection, older_than=self._instances, after=self._instances_after
        )
        if deleted:
            log.info("instance.clean", instances=deleted)
        return self._instances_after != FIRST_INSTANCE

    async def _clean(self, status: JobStatus, seconds: float) -> bool:
        async with self._session.use() as connection:
            deleted = await self._upkeep.clean(connection, status, older_than=seconds)
        if deleted:
            log.info("job.clean", status=status.value, jobs=deleted)
        return deleted == BATCH

    async def _clean_pipelines(self, status: PipelineStatus, seconds: float) -> bool:
        async with self._session.use() as connection:
            deleted, more = await self._cleaner.clean(connection, status, older_than=seconds)
        if deleted:
            log.info("pipeline.clean", status=status.value, pipelines=deleted)
        return more
