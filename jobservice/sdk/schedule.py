"""Owns Schedule, what a user fills in, and ScheduleInfo, what the service tells of it. It talks to no server."""

from collections.abc import Mapping
from dataclasses import KW_ONLY, dataclass, replace
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

from jobservice.domain.errors import InvalidSubmission
from jobservice.domain.late_binding import BadBinding, bind
from jobservice.domain.names import DEFAULT_TENANT
from jobservice.domain.schedule_definition import Definition
from jobservice.domain.schedules import WAITING_MAX, CatchUp, Overlap
from jobservice.sdk.job_info import JobClassName, JobInfo
from jobservice.sdk.json_values import PARAMETERS_DEPTH_MAX, NotJson, to_plain
from jobservice.sdk.pipeline import Pipeline

_PIPELINE_DEPTH = 5 + PARAMETERS_DEPTH_MAX


@dataclass(frozen=True, slots=True)
class Schedule:
    """What is submitted at which dates: a job or a pipeline, by `cron` or `every` so many seconds.

    Texts in it may hold `{fire_date}`, `{fire_date:%Y-%m-%d}` and `{schedule}`.
    """

    name: str
    job: JobInfo | Mapping[str, Any] | None = None
    """A mapping has the members of a submission."""
    _: KW_ONLY
    pipeline: Pipeline | Mapping[str, Any] | None = None
    tenant: str | None = None
    """None: that of the job or the pipeline."""
    cron: str | None = None
    every: int | None = None
    time_zone: str = "UTC"
    catch_up: CatchUp | str = CatchUp.ONCE
    """Of ticks that nobody was there to fire: `skip` them, `once` for all of them, or `all`."""
    catch_up_within: int = 86_400
    """Seconds; ticks older than that are missed."""
    overlap: Overlap | str = Overlap.ALLOW
    """A tick while the last one's job or pipeline lives: `allow`, `skip`, or `queue` it behind."""

    def definition(self) -> Definition:
        """It, checked. Raises InvalidSubmission, naming the field."""
        job = None if self.job is None else _job(self.job, self.name)
        pipeline = None if self.pipeline is None else _pipeline(self.pipeline)
        named = (job or pipeline or {}).get("tenant")
        definition = Definition(
            tenant=self.tenant or named or DEFAULT_TENANT,
            name=self.name,
            job=job,
            pipeline=pipeline,
            cron=self.cron,
            every=self.every,
            time_zone=self.time_zone,
            catch_up=self.catch_up,  # type: ignore[arg-type]  # `checked` makes it one
            catch_up_within=self.catch_up_within,
            overlap=self.overlap,  # type: ignore[arg-type]
        )
        return definition.checked()


@dataclass(frozen=True, slots=True, kw_only=True)
class ScheduleInfo:
    """A schedule as it stands. `class_known`: by a living daemon of its queue; None for a pipeline."""

    name: str
    tenant: str
    cron: str | None
    every: int | None
    time_zone: str
    next_fire_date: datetime | None
    paused: bool
    pause_reason: str | None
    """`user`, `removed` from the configuration, or `broken`: its timing could not be reckoned."""
    last_fire_date: datetime | None
    last_job_id: UUID | None
    last_pipeline_id: UUID | None
    last_status: str | None
    """Of what the last tick submitted; None where there is none, or it has been cleaned away."""
    fired: int
    missed: int
    last_missed_date: datetime | None
    last_missed_reason: str | None
    error: str | None
    """Why the last tick submitted nothing."""
    catch_up: str
    catch_up_within: int
    overlap: str
    source: str
    """`user` or `config`."""
    class_known: bool | None
    job: dict[str, Any] | None
    pipeline: dict[str, Any] | None
    created_date: datetime
    updated_date: datetime
    waiting: int
    """Ticks that wait for the pipeline of the one before."""
    waiting_since: datetime | None
    """Since when one of them does."""

    @property
    def troubles(self) -> list[str]:
        """What keeps it, or its jobs, from running, in words; a user's pause is none."""
        found = []
        if self.pause_reason == "removed":
            found.append("paused: the configuration names it no more")
        if self.error is not None:
            found.append(f"{'paused' if self.pause_reason == 'broken' else 'refused'}: {self.error}")
        if self.next_fire_date is None:
            found.append("it has no next fire date")
        if self.waiting >= WAITING_MAX:
            found.append(f"{self.waiting:,} ticks wait, more are missed")
        if self.class_known is False and not self.paused:
            job = self.job or {}
            found.append(f"no living daemon of queue {job.get('queue', 'default')} knows class {job.get('job_class')}")
        return found


@dataclass(frozen=True, slots=True)
class WaitingTick:
    """A tick that waits for the pipeline of the one before."""

    fire_date: datetime
    since: datetime


def _job(job: JobInfo | Mapping[str, Any], schedule: str) -> dict[str, Any]:
    if not isinstance(job, JobInfo):
        return _plain("job", job, 2 + PARAMETERS_DEPTH_MAX)
    if isinstance(job.job_class, JobClassName):
        _check_as_bound(job, schedule)
        job = replace(job, job_class=str(job.job_class))
    return job.to_submission()


def _check_as_bound(job: JobInfo, schedule: str) -> None:
    """Against the class, as one of its ticks would say it."""
    try:
        bound = bind(dict(job.parameters), fire_date=datetime(2001, 2, 3, tzinfo=UTC), schedule=schedule)
    except BadBinding as error:
        raise InvalidSubmission(f"parameters.{error}", field="parameters") from None
    replace(job, parameters=bound).to_submission()


def _pipeline(pipeline: Pipeline | Mapping[str, Any]) -> dict[str, Any]:
    return pipeline.to_submission() if isinstance(pipeline, Pipeline) else _plain("pipeline", pipeline, _PIPELINE_DEPTH)


def _plain(field: str, document: Mapping[str, Any], depth: int) -> dict[str, Any]:
    try:
        plain: dict[str, Any] = to_plain(document, depth)
    except NotJson as error:
        raise InvalidSubmission(f"{field}{error.where}: {error.reason}", field=field + error.where) from None
    return plain
