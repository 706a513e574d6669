"""Pipelines by SQL: what a client with a database does. The statements are those of workflow and store."""

import asyncio
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import replace
from functools import partial
from typing import Any, Final, TypeVar
from uuid import UUID

import asyncpg
import structlog

from jobservice.client.answers import Page, PipelinePage
from jobservice.client.database import ClientDatabase
from jobservice.client.looking import until
from jobservice.client.sql_jobs import job_of
from jobservice.domain.errors import DatabaseUnavailable, UnavailableError, UnknownPipeline, UnknownStage
from jobservice.domain.pipelines import PipelineStatus, PipelineVerb, StageVerb
from jobservice.domain.states import JobStatus
from jobservice.sdk.pipeline import PipelineInfo, StageInfo
from jobservice.store.job_reader import JobReader
from jobservice.store.pipeline_reader import PipelineFilter, PipelineReader
from jobservice.workflow.pipelines import Pipelines as Workflow
from jobservice.workflow.pipelines import WorkflowResult

log = structlog.get_logger(__name__)

T = TypeVar("T")

_TRIES: Final = 5
"""Of what was refused because somebody else was at it: a deadlock, or a row that must not be waited for."""
_PAUSE: Final = 0.02
"""Seconds before it is tried again, the longer the more often it was; and between batches that others must end."""
_MOVED_AT_ONCE: Final = 1_000
_SETTLED_WITHIN: Final = 30.0


class SqlPipelines:
    """Creates, changes and asks through one database. `connection`: inside the caller's own transaction."""

    def __init__(self, *, database: ClientDatabase, schema: str) -> None:
        self._database = database
        self._reader = PipelineReader(schema)
        self._jobs = JobReader(schema)
        self._workflow = Workflow(schema=schema)

    async def create(self, pipeline: str, connection: asyncpg.Connection | None) -> PipelineInfo:
        """Store a pipeline (JSON), all or nothing. Raises InvalidSubmission."""
        pipeline_id, _ = await self._run(lambda used: self._workflow.submit(used, pipeline), connection)
        await self._go_on(connection, pipelines=[pipeline_id])
        return await self.get(pipeline_id, connection=connection)

    async def check(self, pipeline: str) -> None:
        """Store a pipeline (JSON) and take it back. Raises InvalidSubmission."""
        async with self._database.use() as connection:
            transaction = connection.transaction()
            await transaction.start()
            try:
                await self._workflow.submit(connection, pipeline)
            finally:
                await transaction.rollback()

    async def add_stage(self, pipeline_id: UUID, stage: str, connection: asyncpg.Connection | None) -> StageInfo:
        """Add a stage (JSON). Raises UnknownPipeline, NotLegal, InvalidSubmission."""
        (stage_id,) = await self._run(lambda used: self._workflow.add_stages(used, pipeline_id, stage), connection)
        await self._go_on(connection, pipelines=[pipeline_id])
        return await self.stage(stage_id, connection=connection)

    async def add_jobs(self, stage_id: UUID, jobs: str, connection: asyncpg.Connection | None) -> list[UUID]:
        """Add jobs (JSON). Raises UnknownStage, NotLegal, InvalidSubmission."""
        stored = await self._run(lambda used: self._workflow.add_jobs(used, stage_id, jobs), connection)
        await self._go_on(connection, stages=[stage_id])
        return [job_id for job_id, _ in stored]

    async def command(
        self, verb: PipelineVerb, ids: Sequence[UUID], argument: Any, connection: asyncpg.Connection | None
    ) -> list[WorkflowResult]:
        """Apply the verb to each id, and go on with what it began; results in the order given."""
        results = await self._run(lambda used: self._workflow.command(used, verb, ids, argument=argument), connection)
        statuses = await self._go_on(connection, pipelines=ids)
        return [replace(each, status=statuses.get(each.id, each.status)) for each in results]

    async def command_stages(
        self, verb: StageVerb, ids: Sequence[UUID], argument: Any, connection: asyncpg.Connection | None
    ) -> list[WorkflowResult]:
        """The same for stages."""
        results = await self._run(
            lambda used: self._workflow.command_stages(used, verb, ids, argument=argument), connection
        )
        await self._go_on(connection, stages=ids)
        return results

    async def get(
        self, pipeline_id: UUID, *, counted: bool = False, connection: asyncpg.Connection | None = None
    ) -> PipelineInfo:
        """One pipeline with its stages. Raises UnknownPipeline."""
        async with self._database.use(connection) as used:
            rows = await self._reader.get(used, [pipeline_id])
            if not rows:
                raise UnknownPipeline(pipeline_id)
            stages = await self._reader.stages(used, pipelines=[pipeline_id], counted=counted)
        return pipeline_of(rows[0], stages)

    async def stages(self, pipeline_id: UUID, *, counted: bool) -> list[StageInfo]:
        """The stages of a pipeline, in their order. Raises UnknownPipeline."""
        async with self._database.use() as connection:
            rows = await self._reader.stages(connection, pipelines=[pipeline_id], counted=counted)
            if not rows and await self._reader.status(connection, pipeline_id) is None:
                raise UnknownPipeline(pipeline_id)
        return [stage_of(row) for row in rows]

    async def stage(
        self, stage_id: UUID, *, counted: bool = False, connection: asyncpg.Connection | None = None
    ) -> StageInfo:
        """One stage. Raises UnknownStage."""
        async with self._database.use(connection) as used:
            rows = await self._reader.stages(used, stages=[stage_id], counted=counted)
        if not rows:
            raise UnknownStage(stage_id)
        return stage_of(rows[0])

    async def stage_jobs(
        self, stage_id: UUID, statuses: Sequence[JobStatus], *, limit: int, after: UUID | None
    ) -> Page:
        """A page of a stage's jobs, in the order of their submission. Raises UnknownStage."""
        async with self._database.use() as connection:
            # One more than asked for tells whether there is another page.
            ids = await self._reader.job_ids(connection, stage_id, statuses, after=after, limit=limit + 1)
            if not ids and not await self._reader.stages(connection, stages=[stage_id]):
                raise UnknownStage(stage_id)
            jobs = [job_of(row) for row in await self._jobs.get(connection, ids[:limit])]
        return Page(jobs=jobs, next=ids[limit - 1] if len(ids) > limit else None)

    async def find(self, wanted: PipelineFilter, *, limit: int, after: UUID | None) -> PipelinePage:
        """A page of pipelines, newest first, without their stages."""
        async with self._database.use() as connection:
            rows = await self._reader.find(connection, wanted, after=after, limit=limit + 1)
        pipelines = [pipeline_of(row) for row in rows[:limit]]
        return PipelinePage(pipelines=pipelines, next=pipelines[-1].pipeline_id if len(rows) > limit else None)

    async def count(self, wanted: PipelineFilter) -> int:
        """How many pipelines match."""
        async with self._database.use() as connection:
            return await self._reader.count(connection, wanted)

    async def wait(self, pipeline_id: UUID, timeout: float | None) -> PipelineInfo:
        """The pipeline once it has ended.

        Raises UnknownPipeline (also where it was deleted meanwhile), TimeoutError after `timeout` seconds.
        """
        status = partial(self._status, pipeline_id)
        await until(lambda seen: seen.final, status, f"pipeline {pipeline_id}", timeout)
        return await self.get(pipeline_id)

    async def _status(self, pipeline_id: UUID, connection: asyncpg.Connection | None = None) -> PipelineStatus:
        async with self._database.use(connection) as used:
            status = await self._reader.status(used, pipeline_id)
        if status is None:
            raise UnknownPipeline(pipeline_id)
        return PipelineStatus(status)

    async def _run(
        self, work: Callable[[asyncpg.Connection], Awaitable[T]], connection: asyncpg.Connection | None
    ) -> T:
        """What one statement returned; sent again where it met somebody else's. A caller's transaction is his own."""
        for attempt in range(1, _TRIES + 1):
            try:
                async with self._database.use(connection) as used:
                    return await work(used)
            except DatabaseUnavailable:
                raise
            except UnavailableError as error:
                last = connection is not None or attempt == _TRIES
                if last or isinstance(error.__cause__, asyncpg.QueryCanceledError):
                    raise
            await asyncio.sleep(_PAUSE * attempt)
        raise AssertionError("the last try returns or raises")

    async def _go_on(
        self, connection: asyncpg.Connection | None, *, pipelines: Sequence[UUID] = (), stages: Sequence[UUID] = ()
    ) -> dict[UUID, PipelineStatus]:
        """Move what a verb has left to be moved, so that no daemon is needed for it. The statuses where it did.

        What cannot be moved now keeps its mark, and any daemon goes on with it.
        """
        statuses: dict[UUID, PipelineStatus] = {}
        try:
            left = await self._run(
                lambda used: self._reader.unsettled(used, pipelines=pipelines, stages=stages), connection
            )
            for pipeline_id, jobs in left.items():
                await self._settle(pipeline_id, 1 + jobs // _MOVED_AT_ONCE, connection)
                statuses[pipeline_id] = await self._status(pipeline_id, connection)
        except UnavailableError as error:
            if connection is not None:
                raise
            log.warning("pipeline.settle", pipelines=[str(each) for each in pipelines], error=str(error))
        return statuses

    async def _settle(self, pipeline_id: UUID, rounds: int, connection: asyncpg.Connection | None) -> None:
        deadline = time.monotonic() + _SETTLED_WITHIN
        done = 0
        while await self._run(lambda used: self._workflow.settle(used, [pipeline_id]), connection):
            done += 1
            if done > rounds:
                # Somebody holds rows that are left, and in this very transaction he would wait for us.
                if connection is not None or time.monotonic() > deadline:
                    return
                await asyncio.sleep(_PAUSE)


def pipeline_of(row: dict[str, Any], stages: Sequence[dict[str, Any]] = ()) -> PipelineInfo:
    """Rows of `pipeline_reader` as what users handle."""
    ending = None if row["ending"] is None else PipelineStatus(row["ending"])
    return PipelineInfo(
        **row | {"status": PipelineStatus(row["status"]), "ending": ending},
        stages=tuple(stage_of(each) for each in stages),
    )


def stage_of(row: dict[str, Any]) -> StageInfo:
    """The same for a stage."""
    return StageInfo(**row | {"status": PipelineStatus(row["status"])})
