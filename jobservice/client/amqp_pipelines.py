"""Pipelines by messages: what a client without a database does. It creates, adds to and commands; it reads nothing."""

import json
from collections import OrderedDict
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from typing import Any, Final
from uuid import UUID

import asyncpg

from jobservice.client.arguments import priority_number
from jobservice.client.asking import Asking, Grown
from jobservice.domain.errors import ConfigurationError, InvalidSubmission
from jobservice.domain.names import DEFAULT_QUEUE, DEFAULT_TENANT
from jobservice.domain.pipelines import OnFailure, PipelineStatus, PipelineVerb, StageVerb
from jobservice.sdk.json_values import dump
from jobservice.sdk.pipeline import PipelineInfo, StageInfo
from jobservice.workflow.pipelines import WorkflowResult

_KEPT: Final = 100_000

_WORDS: Final[dict[PipelineVerb, tuple[str, str | None]]] = {
    PipelineVerb.START: ("start_pipeline", None),
    PipelineVerb.PAUSE: ("pause_pipeline", None),
    PipelineVerb.RESUME: ("resume_pipeline", None),
    PipelineVerb.STOP: ("stop_pipeline", "reason"),
    PipelineVerb.SEAL: ("seal_pipeline", None),
    PipelineVerb.RESTART: ("restart_pipeline", None),
    PipelineVerb.SET_PRIORITY: ("set_pipeline_priority", "priority"),
    PipelineVerb.UPDATE_METADATA: ("update_pipeline_metadata", "user_metadata"),
    PipelineVerb.DELETE: ("delete_pipeline", None),
}
_STAGE_WORDS: Final[dict[StageVerb, tuple[str, str | None]]] = {
    StageVerb.RELEASE: ("release_stage", None),
    StageVerb.SEAL: ("seal_stage", None),
    StageVerb.UPDATE_METADATA: ("update_stage_metadata", "user_metadata"),
}
"""Verb → the command, and the member that holds the verb's argument."""


class AmqpPipelines:
    """Creates and commands through one broker."""

    def __init__(self, *, asking: Asking) -> None:
        self._asking = asking
        self._tenants: OrderedDict[UUID, str] = OrderedDict()

    async def create(self, pipeline: str, connection: asyncpg.Connection | None) -> PipelineInfo:
        """Have a pipeline (JSON) stored. Told of it is what was submitted, with ids: how it stands is not known.

        Raises InvalidSubmission, UnavailableError.
        """
        _outside(connection)
        submitted = json.loads(pipeline)
        tenant = submitted.get("tenant") or DEFAULT_TENANT
        reply = await self._asking.submit(tenant, dump({"pipeline": submitted}))
        pipeline_id, stage_ids = UUID(reply["pipeline_id"]), [UUID(each) for each in reply["stage_ids"]]
        self._remember(tenant, [pipeline_id, *stage_ids])
        return _pipeline(submitted, pipeline_id, tenant, stage_ids)

    async def add_stage(self, pipeline_id: UUID, stage: str, connection: asyncpg.Connection | None) -> StageInfo:
        """Have a stage (JSON) added; told of it is what was submitted. Raises as SQL does, and UnavailableError."""
        _outside(connection)
        submitted = json.loads(stage)
        tenant = self._tenant_of(pipeline_id)
        body = dump({"pipeline_id": str(pipeline_id), "stages": [submitted]})
        reply = await self._asking.submit(tenant, body, to=Grown("pipeline", pipeline_id, "add a stage to"))
        stage_id = UUID(reply["stage_ids"][0])
        self._remember(tenant, [stage_id])
        return _stage(submitted, stage_id, pipeline_id, reply["positions"][0])

    async def add_jobs(self, stage_id: UUID, jobs: str, connection: asyncpg.Connection | None) -> list[UUID]:
        """Have jobs (JSON) added. Raises as SQL does, and UnavailableError."""
        _outside(connection)
        body = dump({"stage_id": str(stage_id), "jobs": json.loads(jobs)})
        reply = await self._asking.submit(self._tenant_of(stage_id), body, to=Grown("stage", stage_id, "add jobs to"))
        return [UUID(each) for each in reply["job_ids"]]

    async def command(
        self, verb: PipelineVerb, ids: Sequence[UUID], argument: Any, connection: asyncpg.Connection | None
    ) -> list[WorkflowResult]:
        """Apply one command to each id; results in the order given."""
        _outside(connection)
        word, member = _WORDS[verb]
        body = {"command": word, "pipeline_ids": [str(each) for each in ids], **_argument(member, argument)}
        told = {UUID(each["pipeline_id"]): each for each in (await self._asking.command(body))["results"]}
        return [_result(each, "pipeline", told[each]) for each in ids]

    async def command_stages(
        self, verb: StageVerb, ids: Sequence[UUID], argument: Any, connection: asyncpg.Connection | None
    ) -> list[WorkflowResult]:
        """The same for stages."""
        _outside(connection)
        if verb not in _STAGE_WORDS:
            raise ConfigurationError(
                f"{verb} needs the database, since a message may come twice and would be counted twice: "
                "give JobInfoService.connect a database_url"
            )
        word, member = _STAGE_WORDS[verb]
        body = {"command": word, "stage_ids": [str(each) for each in ids], **_argument(member, argument)}
        told = {UUID(each["stage_id"]): each for each in (await self._asking.command(body))["results"]}
        return [_result(each, "stage", told[each]) for each in ids]

    def _remember(self, tenant: str, ids: Iterable[UUID]) -> None:
        for each in ids:
            self._tenants[each] = tenant
        while len(self._tenants) > _KEPT:
            self._tenants.popitem(last=False)

    def _tenant_of(self, identity: UUID) -> str:
        """Whose it is: a submission goes to its tenant, and an operator has none."""
        tenant = self._asking.tenant or self._tenants.get(identity)
        if tenant is None:
            raise InvalidSubmission(
                f"{identity} was not created by this client, so its tenant is not known: give JobInfoService.connect "
                "the tenant, or a database_url",
                field="tenant",
            )
        return tenant


def _outside(connection: asyncpg.Connection | None) -> None:
    if connection is not None:
        raise ConfigurationError("a transaction needs the database: give JobInfoService.connect a database_url")


def _argument(member: str | None, argument: Any) -> dict[str, Any]:
    return {} if member is None or argument is None else {member: argument}


def _result(identity: UUID, kind: Any, told: dict[str, Any]) -> WorkflowResult:
    return WorkflowResult(
        id=identity,
        kind=kind,
        status=PipelineStatus(told["status"]) if told["status"] else None,
        accepted=told["accepted"],
        code=told["code"],
        reason=told.get("reason"),
    )


def _pipeline(given: dict[str, Any], pipeline_id: UUID, tenant: str, stage_ids: Sequence[UUID]) -> PipelineInfo:
    now = datetime.now(UTC)
    stages = given.get("stages") or []
    status = PipelineStatus(given.get("status") or PipelineStatus.QUEUED)
    return PipelineInfo(
        pipeline_id=pipeline_id,
        tenant=tenant,
        name=given["name"],
        queue=given.get("queue") or DEFAULT_QUEUE,
        priority=priority_number(given.get("priority") or 0),
        status=status,
        open=bool(given.get("open")),
        paused=False,
        ending=None,
        reason=None,
        sequence=1 if status is PipelineStatus.PENDING else 2,
        percent_completed=0,
        data=given.get("data") or {},
        user_metadata=given.get("user_metadata") or {},
        owner=given.get("owner"),
        description=given.get("description"),
        correlation_id=given.get("correlation_id"),
        traceparent=given.get("traceparent"),
        idempotency_key=given.get("idempotency_key"),
        created_date=now,
        updated_date=now,
        # Fewer or more than submitted where a key named a pipeline that was there and has been added to.
        stages=tuple(
            _stage(stages[n] if n < len(stages) else {}, stage_id, pipeline_id, n + 1)
            for n, stage_id in enumerate(stage_ids)
        ),
    )


def _stage(given: dict[str, Any], stage_id: UUID, pipeline_id: UUID, position: int) -> StageInfo:
    on_failure = given.get("on_failure") or OnFailure.FINISH_STAGE
    share = given.get("allowed_failures")
    return StageInfo(
        stage_id=stage_id,
        pipeline_id=pipeline_id,
        position=position,
        name=given.get("name") or f"stage-{position}",
        job_class=given.get("job_class"),
        status=PipelineStatus.PENDING,
        hold=bool(given.get("hold")),
        open=bool(given.get("open")),
        on_failure=str(on_failure),
        allowed_failures=share if share is not None else float(on_failure == OnFailure.CONTINUE),
        max_attempts=given.get("max_attempts") or 3,
        reason=None,
        total=len(given.get("jobs") or ()),
        succeeded=0,
        failed=0,
        aborted=0,
        retried=0,
        percent_completed=0,
        sequence=1,
        data=given.get("data") or {},
        user_metadata=given.get("user_metadata") or {},
        idempotency_key=given.get("idempotency_key"),
        created_date=datetime.now(UTC),
    )
