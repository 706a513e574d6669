"""Submissions of pipelines, and of what is added to them: read from messages, stored by the functions of workflow.

Three bodies: {"pipeline": {…}}, {"pipeline_id": …, "stages": […]}, {"stage_id": …, "jobs": […]}.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final, Literal
from uuid import UUID

import asyncpg

from jobservice.broker.incoming import Incoming
from jobservice.domain.errors import InvalidSubmission
from jobservice.sdk.json_values import PARAMETERS_DEPTH_MAX, NotJson, dump, to_plain
from jobservice.store.pipeline_reader import PipelineReader
from jobservice.submission.bounds import JOBS_MAX, STAGES_MAX
from jobservice.workflow.pipelines import Pipelines

_ID: Final = re.compile(r"[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}")
Kind = Literal["pipeline", "stages", "jobs"]
_OWNERS: Final[Mapping[Kind, str | None]] = {"pipeline": None, "stages": "pipeline_id", "jobs": "stage_id"}
"""What a body holds → the member that says what it is added to."""
_MEMBERS: Final = {*_OWNERS, *filter(None, _OWNERS.values())}
_LEVELS: Final = 5
"""Objects and arrays around the parameters of a job: pipeline, stages, stage, jobs, job."""


@dataclass(frozen=True, slots=True)
class Tree:
    """A message with a pipeline, or with stages or jobs for one, as the JSON text that its function takes."""

    message: Incoming
    kind: Kind
    tenant: str
    text: str
    to: UUID | None
    """The pipeline or stage that it is added to."""


def is_tree(content: Any) -> bool:
    """Whether a body is about a pipeline: no job has such members."""
    return isinstance(content, dict) and not content.keys().isdisjoint(_MEMBERS)


def read_tree(content: dict[str, Any], message: Incoming, *, tenant: str, key: str | None) -> Tree:
    """The tree in a body, with tenant and idempotency keys filled in. Raises InvalidSubmission."""
    kind = next((kind for kind in _OWNERS if kind in content), None)
    if kind is None:
        named = next(name for name in _OWNERS.values() if name in content)
        raise InvalidSubmission("pipeline_id goes with stages, and stage_id with jobs", field=named)
    owner = _OWNERS[kind]
    for name in content:
        if name not in (kind, owner):
            raise InvalidSubmission(f"{name} does not go with {kind}", code="unknown_field", field=name)
    if kind == "pipeline":
        _sign(content[kind], tenant, key)
    else:
        _check_array(content[kind], kind)
        if key is not None:
            _give_keys(content[kind], key)
    _check_size(content, kind)
    return Tree(message, kind, tenant, _text(content[kind], kind), _identity(content, owner))


class TreeStore:
    """Stores trees, each within a transaction of the caller's."""

    def __init__(self, *, schema: str) -> None:
        self._pipelines = Pipelines(schema=schema)
        self._reader = PipelineReader(schema)

    async def store(self, connection: asyncpg.Connection, tree: Tree) -> dict[str, Any]:
        """The answer. Raises UnknownPipeline, UnknownStage, NotLegal, and the refusals of the connection."""
        if tree.kind == "pipeline":
            pipeline_id, created = await self._pipelines.submit(connection, tree.text)
            stages = await self._reader.stage_ids(connection, pipeline_id)
            return {"pipeline_id": str(pipeline_id), "created": created, "stage_ids": [str(each) for each in stages]}
        assert tree.to is not None
        if tree.kind == "stages":
            added = await self._pipelines.add_stages(connection, tree.to, tree.text, tenant=tree.tenant)
            positions = await self._reader.positions(connection, added)
            return {"stage_ids": [str(each) for each in added], "positions": positions}
        jobs = await self._pipelines.add_jobs(connection, tree.to, tree.text, tenant=tree.tenant)
        return {"job_ids": [str(job_id) for job_id, _ in jobs]}


def _sign(pipeline: Any, tenant: str, key: str | None) -> None:
    if not isinstance(pipeline, dict):
        raise InvalidSubmission("a pipeline must be an object", field="pipeline")
    if pipeline.get("tenant") not in (None, tenant):
        raise InvalidSubmission(f"tenant is not that of the routing key, {tenant!r}", field="tenant")
    pipeline["tenant"] = tenant
    if key is not None and pipeline.get("idempotency_key") is None:
        pipeline["idempotency_key"] = key


def _check_array(members: Any, kind: Kind) -> None:
    if not isinstance(members, list):
        raise InvalidSubmission(f"{kind} must be an array", field=kind)


def _give_keys(members: list[Any], key: str) -> None:
    for n, member in enumerate(members):
        if isinstance(member, dict) and member.get("idempotency_key") is None:
            member["idempotency_key"] = f"{key}/{n}"


def _check_size(content: dict[str, Any], kind: Kind) -> None:
    stages = content["stages"] if kind == "stages" else content[kind].get("stages") if kind == "pipeline" else [content]
    stages = stages if isinstance(stages, list) else []
    jobs = [stage.get("jobs") for stage in stages if isinstance(stage, dict)]
    count = sum(len(each) for each in jobs if isinstance(each, list))
    if len(stages) > STAGES_MAX or count > JOBS_MAX:
        raise InvalidSubmission(
            f"it has {len(stages):,} stages and {count:,} jobs; at most {STAGES_MAX:,} and {JOBS_MAX:,} are taken",
            code="too_large",
        )


def _text(tree: Any, kind: Kind) -> str:
    try:
        return dump(to_plain(tree, _LEVELS + PARAMETERS_DEPTH_MAX))
    except NotJson as error:
        place = error.where.removeprefix(".") if kind == "pipeline" else kind + error.where
        field = place or None
        raise InvalidSubmission(f"{field}: {error.reason}" if field else error.reason, field=field) from None


def _identity(content: dict[str, Any], owner: str | None) -> UUID | None:
    if owner is None:
        return None
    given = content.get(owner)
    if not isinstance(given, str) or not _ID.fullmatch(given):
        raise InvalidSubmission(f"{owner} must be the id of a {owner.removesuffix('_id')}", field=owner)
    return UUID(given)
