"""Owns Pipeline and Stage, what a submitter fills in, and PipelineInfo and StageInfo, what the service tells of them.

They become the JSON of a submission here, at no other place. Nothing here talks to a server.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import KW_ONLY, MISSING, dataclass, field, fields
from datetime import datetime
from functools import partial
from typing import Any, Final, TypeVar
from uuid import UUID

from jobservice.domain.errors import InvalidSubmission
from jobservice.domain.names import DEFAULT_QUEUE, DEFAULT_TENANT
from jobservice.domain.pipelines import OnFailure, PipelineStatus
from jobservice.sdk.job_info import JobClassName, JobInfo, check_parameters
from jobservice.sdk.json_values import PARAMETERS_DEPTH_MAX, NotJson, dump, to_plain

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Stage:
    """One stage of a pipeline: its jobs run in parallel."""

    name: str | None = None
    """None: `stage-<position>`."""
    _: KW_ONLY
    job_class: Any = None
    """Name or class, for those of its jobs that name none."""
    jobs: Sequence[JobInfo | Mapping[str, Any]] = ()
    """JobInfos, or mappings with the members of a submission; without a status, and of the pipeline's tenant."""
    data: Mapping[str, Any] = field(default_factory=dict)
    user_metadata: Mapping[str, Any] = field(default_factory=dict)
    hold: bool = False
    """It does not open before it is released."""
    open: bool = False
    """More jobs will come: it cannot finish before it is sealed."""
    on_failure: OnFailure | str = OnFailure.FINISH_STAGE
    allowed_failures: float | None = None
    """A share from 0 to 1, with `continue`."""
    max_attempts: int | None = None
    """Of those of its jobs that say nothing else; None: 3."""
    idempotency_key: str | None = None
    """Added twice under one key it is there once, as it was added first."""

    def to_submission(self) -> dict[str, Any]:
        """The members that differ from the service's defaults. Raises InvalidSubmission, naming the field."""
        submission = _members(
            self,
            ("name", "data", "user_metadata", "hold", "open", "allowed_failures", "max_attempts", "idempotency_key"),
        )
        if self.job_class is not None:
            named = self.job_class
            submission["job_class"] = _plain("job_class", named) if isinstance(named, str) else str(JobClassName(named))
        if self.on_failure != OnFailure.FINISH_STAGE:
            submission["on_failure"] = str(self.on_failure)
        if self.jobs:
            submission["jobs"] = stage_jobs(self.jobs, self.job_class)
        return submission


@dataclass(frozen=True, slots=True)
class Pipeline:
    """Ordered stages. It starts at once unless `status` is PENDING."""

    name: str
    _: KW_ONLY
    stages: Sequence[Stage | Mapping[str, Any]] = ()
    """Stages, or mappings with the members of a submission."""
    tenant: str = DEFAULT_TENANT
    queue: str = DEFAULT_QUEUE
    priority: int | str = 0
    owner: str | None = None
    description: str | None = None
    correlation_id: str | None = None
    traceparent: str | None = None
    data: Mapping[str, Any] = field(default_factory=dict)
    user_metadata: Mapping[str, Any] = field(default_factory=dict)
    status: PipelineStatus = PipelineStatus.QUEUED
    open: bool = False
    """More stages will come: it cannot finish before it is sealed."""
    idempotency_key: str | None = None

    def to_submission(self) -> dict[str, Any]:
        """The pipeline ready to be dumped as JSON. Raises InvalidSubmission, naming the field."""
        names = [each.name for each in fields(self) if each.name not in ("_", "stages", "status")]
        submission = _members(self, names)
        if self.status != PipelineStatus.QUEUED:
            submission["status"] = str(self.status)
        stages = _sequence("stages", self.stages)
        submission["stages"] = [_placed("stages", n, stage, _stage) for n, stage in enumerate(stages)]
        return submission


@dataclass(frozen=True, slots=True, kw_only=True)
class StageInfo:
    """A stage as it stood when it was read. Waiting and running jobs are None where they were not counted."""

    stage_id: UUID
    pipeline_id: UUID
    position: int
    name: str
    job_class: str | None
    status: PipelineStatus
    hold: bool
    open: bool
    on_failure: str
    allowed_failures: float
    max_attempts: int
    reason: str | None
    total: int
    succeeded: int
    failed: int
    aborted: int
    retried: int
    percent_completed: int
    sequence: int
    data: Mapping[str, Any]
    user_metadata: Mapping[str, Any]
    idempotency_key: str | None = None
    created_date: datetime
    open_date: datetime | None = None
    start_date: datetime | None = None
    stop_date: datetime | None = None
    pending: int | None = None
    queued: int | None = None
    running: int | None = None
    """TO_BE_RUN or RUNNING."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PipelineInfo:
    """A pipeline as it stood when it was read. `stages` in their order; empty where they were not asked for."""

    pipeline_id: UUID
    tenant: str
    name: str
    queue: str
    priority: int
    status: PipelineStatus
    open: bool
    paused: bool
    ending: PipelineStatus | None
    """How it will end once its last job has: it was stopped, or has failed."""
    reason: str | None
    sequence: int
    percent_completed: int
    data: Mapping[str, Any]
    user_metadata: Mapping[str, Any]
    owner: str | None
    description: str | None
    correlation_id: str | None
    traceparent: str | None
    idempotency_key: str | None
    created_date: datetime
    updated_date: datetime
    start_date: datetime | None = None
    stop_date: datetime | None = None
    stages: tuple[StageInfo, ...] = ()


def stage_jobs(jobs: Sequence[JobInfo | Mapping[str, Any]], job_class: Any = None) -> list[dict[str, Any]]:
    """Jobs of a stage as the submission has them. Raises InvalidSubmission with a path as field: `jobs[0].priority`.

    `job_class` is the stage's. Where a job's class was given as a class, the parameters are checked against it.
    """
    written = partial(stage_job, job_class=job_class)
    return [_placed("jobs", n, job, written) for n, job in enumerate(_sequence("jobs", jobs))]


def stage_job(job: JobInfo | Mapping[str, Any], job_class: Any = None) -> dict[str, Any]:
    """A job of a stage as the submission has it. Another tenant and a status are the service's to refuse.

    Raises InvalidSubmission.
    """
    if isinstance(job, JobInfo):
        return job.to_submission()
    if not isinstance(job, Mapping):
        raise InvalidSubmission(f"a job of a stage is a JobInfo or a mapping, not {type(job).__name__}")
    named = job.get("job_class")
    if isinstance(named, type):
        job = {**job, "job_class": str(JobClassName(named))}
    plain: dict[str, Any] = _plain("", job, depth=1 + PARAMETERS_DEPTH_MAX)
    checked = named or job_class
    if isinstance(checked, type) and isinstance(plain.get("parameters", {}), dict):
        check_parameters(checked, plain.get("parameters", {}))
    return plain


def _stage(stage: Stage | Mapping[str, Any]) -> dict[str, Any]:
    if isinstance(stage, Stage):
        return stage.to_submission()
    if not isinstance(stage, Mapping):
        raise InvalidSubmission(f"a stage is a Stage or a mapping, not {type(stage).__name__}")
    plain: dict[str, Any] = _plain("", stage, depth=3 + PARAMETERS_DEPTH_MAX)
    return plain


def _sequence(name: str, members: Any) -> Iterable[Any]:
    if isinstance(members, str | bytes | Mapping) or not isinstance(members, Iterable):
        raise InvalidSubmission(f"{name} is a list, not {type(members).__name__}", field=name)
    return members


def _placed(of: str, n: int, member: T, written: Callable[[T], dict[str, Any]]) -> dict[str, Any]:
    try:
        return written(member)
    except InvalidSubmission as error:
        place = f"{of}[{n}]"
        field_name = place + (f".{error.field}" if error.field else "")
        text = f"{place}.{error}" if error.field and str(error).startswith(error.field) else f"{place}: {error}"
        raise InvalidSubmission(text, code=error.code, field=field_name) from error


def _members(of: Any, names: Sequence[str]) -> dict[str, Any]:
    defaults = _DEFAULTS[type(of)]
    return {name: _plain(name, value) for name in names if (value := getattr(of, name)) != defaults[name]}


def _plain(name: str, value: Any, *, depth: int = PARAMETERS_DEPTH_MAX) -> Any:
    try:
        plain = to_plain(value, depth)
        dump(plain)
    except NotJson as error:
        place = (name + error.where).removeprefix(".") or None
        raise InvalidSubmission(f"{place}: {error.reason}" if place else error.reason, field=place) from None
    return plain


_DEFAULTS: Final[dict[type, dict[str, Any]]] = {
    kind: {
        each.name: each.default if each.default is not MISSING else {} if each.default_factory is dict else None
        for each in fields(kind)
        if each.name != "_"
    }
    for kind in (Stage, Pipeline)
}
