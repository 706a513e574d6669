"""`jobs.pipelines`: pipelines and their stages, from outside. It chooses the way; it does nothing itself."""

from collections.abc import Mapping, Sequence
from typing import Any, Final
from uuid import UUID

import asyncpg

from jobservice.broker.pipeline_messages import PipelineEvent
from jobservice.client.amqp_pipelines import AmqpPipelines
from jobservice.client.answers import Page, PipelinePage, all_accepted
from jobservice.client.arguments import ids_of, page_size, plain_object, priority_number, reason_text, statuses_of
from jobservice.client.selection import pipeline_selection
from jobservice.client.sql_pipelines import SqlPipelines
from jobservice.client.subscription import Note, Subscription
from jobservice.client.ways import Ways
from jobservice.domain.errors import InvalidSubmission
from jobservice.domain.pipeline_facts import PipelineKind
from jobservice.domain.pipelines import PipelineStatus, PipelineVerb, StageVerb
from jobservice.domain.states import JobStatus
from jobservice.sdk.job_info import JobInfo
from jobservice.sdk.json_values import PARAMETERS_DEPTH_MAX, dump
from jobservice.sdk.pipeline import Pipeline, PipelineInfo, Stage, StageInfo, stage_jobs
from jobservice.sdk.stage_changes import increment
from jobservice.store.pipeline_reader import PipelineFilter
from jobservice.workflow.pipelines import WorkflowResult

_JOB_DEPTH: Final = 1 + PARAMETERS_DEPTH_MAX
_STAGE_DEPTH: Final = 2 + _JOB_DEPTH
_PIPELINE_DEPTH: Final = 2 + _STAGE_DEPTH
_WORDS: Final = {PipelineVerb.SET_PRIORITY: "set the priority of"}
"""How a refusal calls a verb, where not by its name."""


class Pipelines:
    """Commands on several ids try each of them; where one was refused, the first refusal is raised when all were tried.

    With `connection` it happens inside the caller's own transaction. A verb that moves thousands of jobs goes on until
    all are moved, in transactions of 1,000. By messages alone daemons do that, and nothing can be read.
    """

    def __init__(self, *, ways: Ways, note: Note, schema: str) -> None:
        """`note` writes a durable subscription down where operators list them."""
        self._ways = ways
        self._sql = SqlPipelines(database=ways.database, schema=schema) if ways.database is not None else None
        self._amqp = AmqpPipelines(asking=ways.asking) if ways.asking is not None else None
        self._note = note

    async def create(
        self, pipeline: Pipeline | Mapping[str, Any], *, connection: asyncpg.Connection | None = None
    ) -> PipelineInfo:
        """Store a pipeline with its stages and their jobs, all or nothing; it starts unless its status is PENDING.

        A mapping has the members of a submission. Raises InvalidSubmission; its field is a path such as
        `stages[1].jobs[0].priority`.
        """
        return await self._way.create(_written(pipeline, _PIPELINE_DEPTH), connection)

    async def check(self, pipeline: Pipeline | Mapping[str, Any]) -> None:
        """Raise what `create` would raise, and store nothing."""
        await self._need_sql("check").check(_written(pipeline, _PIPELINE_DEPTH))

    async def add_stage(
        self,
        pipeline_id: UUID,
        stage: Stage | Mapping[str, Any],
        *,
        connection: asyncpg.Connection | None = None,
    ) -> StageInfo:
        """Add a stage behind those there are. Raises UnknownPipeline, NotLegal, InvalidSubmission."""
        return await self._way.add_stage(pipeline_id, _written(stage, _STAGE_DEPTH), connection)

    async def add_jobs(
        self,
        stage_id: UUID,
        jobs: Sequence[JobInfo | Mapping[str, Any]],
        *,
        connection: asyncpg.Connection | None = None,
    ) -> list[UUID]:
        """Add jobs to a stage that has not ended, all or none; their ids.

        Raises UnknownStage, NotLegal, InvalidSubmission.
        """
        return await self._way.add_jobs(stage_id, dump(stage_jobs(jobs)), connection)

    async def start(self, *ids: UUID, connection: asyncpg.Connection | None = None) -> list[WorkflowResult]:
        """PENDING → QUEUED; the first stage opens. Raises UnknownPipeline, NotLegal."""
        return await self._command(PipelineVerb.START, ids, connection)

    async def pause(self, *ids: UUID, connection: asyncpg.Connection | None = None) -> list[WorkflowResult]:
        """Nothing new starts; running jobs go on and are counted. Raises UnknownPipeline, NotLegal."""
        return await self._command(PipelineVerb.PAUSE, ids, connection)

    async def resume(self, *ids: UUID, connection: asyncpg.Connection | None = None) -> list[WorkflowResult]:
        """Undo `pause`. Raises UnknownPipeline, NotLegal."""
        return await self._command(PipelineVerb.RESUME, ids, connection)

    async def stop(
        self, *ids: UUID, reason: str | None = None, connection: asyncpg.Connection | None = None
    ) -> list[WorkflowResult]:
        """Waiting jobs end ABORTED, running ones are stopped; then it is ABORTED. Raises UnknownPipeline, NotLegal."""
        return await self._command(PipelineVerb.STOP, ids, connection, reason_text(reason))

    async def seal(self, *ids: UUID, connection: asyncpg.Connection | None = None) -> list[WorkflowResult]:
        """No more stages or jobs will come: it may finish. Raises UnknownPipeline, NotLegal."""
        return await self._command(PipelineVerb.SEAL, ids, connection)

    async def restart(self, *ids: UUID, connection: asyncpg.Connection | None = None) -> list[WorkflowResult]:
        """What failed or was aborted runs again, what succeeded is not repeated. Raises UnknownPipeline, NotLegal."""
        return await self._command(PipelineVerb.RESTART, ids, connection)

    async def delete(self, *ids: UUID, connection: asyncpg.Connection | None = None) -> list[WorkflowResult]:
        """Remove ended ones with their stages and jobs. Raises UnknownPipeline, NotLegal."""
        return await self._command(PipelineVerb.DELETE, ids, connection)

    async def set_priority(
        self, pipeline_id: UUID, priority: int | str, *, connection: asyncpg.Connection | None = None
    ) -> list[WorkflowResult]:
        """A new priority for it and its waiting jobs. Raises UnknownPipeline, NotLegal, InvalidSubmission."""
        return await self._command(PipelineVerb.SET_PRIORITY, [pipeline_id], connection, priority_number(priority))

    async def update_metadata(
        self, pipeline_id: UUID, patch: Mapping[str, Any], *, connection: asyncpg.Connection | None = None
    ) -> list[WorkflowResult]:
        """Merge into `user_metadata`, member by member; None removes one. Raises UnknownPipeline, InvalidSubmission."""
        plain = plain_object("user_metadata", patch)
        return await self._command(PipelineVerb.UPDATE_METADATA, [pipeline_id], connection, plain)

    async def release(self, *stage_ids: UUID, connection: asyncpg.Connection | None = None) -> list[WorkflowResult]:
        """Stages on hold may open. Raises UnknownStage, NotLegal."""
        return await self._command_stages(StageVerb.RELEASE, stage_ids, connection)

    async def seal_stage(self, *stage_ids: UUID, connection: asyncpg.Connection | None = None) -> list[WorkflowResult]:
        """No more jobs will come: the stages may finish. Raises UnknownStage, NotLegal."""
        return await self._command_stages(StageVerb.SEAL, stage_ids, connection)

    async def update_stage_metadata(
        self, stage_id: UUID, patch: Mapping[str, Any], *, connection: asyncpg.Connection | None = None
    ) -> list[WorkflowResult]:
        """As `update_metadata`, of a stage. Raises UnknownStage, InvalidSubmission."""
        plain = plain_object("user_metadata", patch)
        return await self._command_stages(StageVerb.UPDATE_METADATA, [stage_id], connection, plain)

    async def increment_stage_metadata(
        self, stage_id: UUID, key: str, n: float = 1, *, connection: asyncpg.Connection | None = None
    ) -> list[WorkflowResult]:
        """Add to a number of a stage's `user_metadata`, or to 0. Raises UnknownStage, InvalidSubmission."""
        change = increment(key, n)
        argument = {"key": change["increment"], "by": change["by"]}
        return await self._command_stages(StageVerb.INCREMENT_METADATA, [stage_id], connection, argument)

    async def get(self, pipeline_id: UUID, *, counted: bool = False) -> PipelineInfo:
        """A pipeline with its stages; `counted`: with numbers of waiting and running jobs. Raises UnknownPipeline."""
        return await self._need_sql("get").get(pipeline_id, counted=counted)

    async def stages(self, pipeline_id: UUID, *, counted: bool = False) -> list[StageInfo]:
        """The stages of a pipeline, in their order. Raises UnknownPipeline."""
        return await self._need_sql("stages").stages(pipeline_id, counted=counted)

    async def stage(self, stage_id: UUID, *, counted: bool = False) -> StageInfo:
        """One stage. Raises UnknownStage."""
        return await self._need_sql("stage").stage(stage_id, counted=counted)

    async def stage_jobs(
        self,
        stage_id: UUID,
        *,
        status: JobStatus | Sequence[JobStatus] | None = None,
        limit: int = 100,
        after: UUID | None = None,
    ) -> Page:
        """The jobs of a stage, in the order of their submission. Raises UnknownStage."""
        statuses = statuses_of(status, JobStatus) or list(JobStatus)
        page = page_size(limit)
        return await self._need_sql("stage_jobs").stage_jobs(stage_id, statuses, limit=page, after=after)

    async def find(
        self,
        *,
        tenant: str | None = None,
        name: str | None = None,
        status: PipelineStatus | Sequence[PipelineStatus] | None = None,
        owner: str | None = None,
        limit: int = 100,
        after: UUID | None = None,
    ) -> PipelinePage:
        """Pipelines that match all that is given, newest first, without their stages."""
        wanted = _filter(tenant, name, status, owner)
        return await self._need_sql("find").find(wanted, limit=page_size(limit), after=after)

    async def count(
        self,
        *,
        tenant: str | None = None,
        name: str | None = None,
        status: PipelineStatus | Sequence[PipelineStatus] | None = None,
        owner: str | None = None,
    ) -> int:
        """How many pipelines match."""
        return await self._need_sql("count").count(_filter(tenant, name, status, owner))

    async def wait(self, pipeline_id: UUID, timeout: float | None = None) -> PipelineInfo:
        """The pipeline once it has ended. Raises UnknownPipeline, TimeoutError."""
        return await self._need_sql("wait").wait(pipeline_id, timeout)

    def events(
        self,
        *,
        tenant: str | None = None,
        name: str | None = None,
        kind: PipelineKind | None = None,
        statuses: set[PipelineStatus] | None = None,
        durable: str | None = None,
        expires: float | None = None,
        single_active: bool = False,
        prefetch: int = 100,
    ) -> Subscription[PipelineEvent]:
        """Changes of pipelines and stages as they happen, by the pipeline's `name`; `kind`: of one of the two only.

        `async with jobs.pipelines.events(…) as events: async for event in events: …`; all else is as in `jobs.events`,
        and durable names are others than those there.
        """
        broker = self._ways.need_broker("events")
        wanted = frozenset(statuses_of(statuses, PipelineStatus) or ())
        selection = pipeline_selection(broker.names, tenant=tenant, name=name, kind=kind, statuses=wanted)
        return Subscription(
            broker=broker,
            selection=selection,
            durable=durable,
            expires=expires,
            single_active=single_active,
            prefetch=prefetch,
            note=self._note,
        )

    async def _command(
        self, verb: PipelineVerb, ids: Sequence[UUID], connection: asyncpg.Connection | None, argument: Any = None
    ) -> list[WorkflowResult]:
        results = await self._way.command(verb, ids_of(ids), argument, connection)
        return all_accepted(_WORDS.get(verb, verb), results)

    async def _command_stages(
        self, verb: StageVerb, ids: Sequence[UUID], connection: asyncpg.Connection | None, argument: Any = None
    ) -> list[WorkflowResult]:
        results = await self._way.command_stages(verb, ids_of(ids), argument, connection)
        return all_accepted(verb, results)

    @property
    def _way(self) -> SqlPipelines | AmqpPipelines:
        way = self._sql or self._amqp
        assert way is not None  # `connect` asks for one of the two
        return way

    def _need_sql(self, what: str) -> SqlPipelines:
        self._ways.need_database(what)
        assert self._sql is not None
        return self._sql


def _written(given: Pipeline | Stage | Mapping[str, Any], depth: int) -> str:
    if isinstance(given, Pipeline | Stage):
        return dump(given.to_submission())
    if not isinstance(given, Mapping):
        kind = "pipeline" if depth == _PIPELINE_DEPTH else "stage"
        raise InvalidSubmission(f"a {kind} is a {kind.title()} or a mapping, not {type(given).__name__}", field=kind)
    return dump(plain_object("", given, depth=depth))


def _filter(
    tenant: str | None,
    name: str | None,
    status: PipelineStatus | Sequence[PipelineStatus] | None,
    owner: str | None,
) -> PipelineFilter:
    return PipelineFilter(tenant=tenant, name=name, statuses=statuses_of(status, PipelineStatus), owner=owner)
