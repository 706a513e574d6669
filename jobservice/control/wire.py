"""The commands as they come over the wire: strict models, one for each, and nothing else is understood."""

from collections.abc import Sequence
from typing import Annotated, Final, Literal
from uuid import UUID

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError, model_validator

from jobservice.broker.bodies import read_json
from jobservice.control.limits import SetLimit
from jobservice.control.members import Command, Name, Priority, ShortText, ZonedDate, given, written, wrong
from jobservice.control.pipelines import (
    ChangePipelines,
    ChangeStages,
    SetPipelinePriority,
    StopPipelines,
    UpdatePipelineMetadata,
    UpdateStageMetadata,
)
from jobservice.control.schedules import AddSchedule, ChangeSchedule
from jobservice.domain.errors import InvalidSubmission
from jobservice.domain.pipeline_facts import PipelineKind
from jobservice.domain.states import FINAL, JobStatus
from jobservice.sdk.json_values import PARAMETERS_DEPTH_MAX, NotJson, dump, to_plain

IDS_MAX: Final = 10_000
BODY_MAX_BYTES: Final = 1_048_576

_NAMED: Final = {"oneOf": [given("job_id"), given("job_ids")]}


class OnJobs(Command):
    """A command on jobs that are named."""

    model_config = written(_NAMED)

    job_id: UUID | None = None
    job_ids: Annotated[list[UUID], Field(max_length=IDS_MAX)] | None = None

    @property
    def ids(self) -> list[UUID]:
        """The jobs named."""
        return [self.job_id] if self.job_id is not None else self.job_ids or []

    @property
    def names_jobs(self) -> bool:
        """Whether it names any, be it none."""
        return self.job_id is not None or self.job_ids is not None

    @model_validator(mode="after")
    def _named_once(self) -> "OnJobs":
        if self.job_id is not None and self.job_ids is not None:
            raise wrong("job_ids", "give job_id or job_ids, not both")
        if not self.names_jobs and not self._selects():
            raise wrong("job_id", "job_id or job_ids is required")
        return self

    def _selects(self) -> bool:
        return False


_ENDED: Final = {"enum": sorted(FINAL)}
_SELECTED: Final = {"anyOf": [given("job_class"), given("status"), given("owner")]}


class Stop(OnJobs):
    """Stop jobs that are named, or all of a selection."""

    model_config = written(
        {"oneOf": [*_NAMED["oneOf"], _SELECTED]},
        {"properties": {"status": {"not": {"anyOf": [_ENDED, {"type": "array", "items": _ENDED}]}}}},
    )

    command: Literal["stop"]
    job_class: Name | None = None
    status: JobStatus | Annotated[list[JobStatus], Field(min_length=1)] | None = None
    owner: ShortText | None = None
    reason: ShortText | None = None

    @property
    def statuses(self) -> Sequence[JobStatus]:
        """Those of the selection that can be stopped."""
        wanted = self.status if self.status is not None else list(JobStatus)
        return [each for each in ([wanted] if isinstance(wanted, JobStatus) else wanted) if each not in FINAL]

    def _selects(self) -> bool:
        return any(value is not None for value in (self.job_class, self.status, self.owner))

    @model_validator(mode="after")
    def _named_or_selected(self) -> "Stop":
        if self.names_jobs and self._selects():
            raise wrong("job_ids", "give job ids or a selection, not both")
        if not self.statuses:
            raise wrong("status", "jobs that have ended cannot be stopped")
        return self


class Enqueue(OnJobs):
    """Release jobs that a user holds."""

    command: Literal["enqueue"]


class Restart(OnJobs):
    """Run ended jobs once more."""

    command: Literal["restart"]
    expiration_date: ZonedDate | None = None


class Rerun(OnJobs):
    """Submit ended jobs as new ones."""

    command: Literal["rerun"]


class Lock(OnJobs):
    """Keep jobs from retention, or not any more."""

    command: Literal["lock", "unlock"]


class Update(OnJobs):
    """Change jobs that wait."""

    model_config = written(_NAMED, {"anyOf": [given("priority"), given("expiration_date")]})

    command: Literal["update"]
    priority: Priority | None = None
    expiration_date: ZonedDate | None = None

    @model_validator(mode="after")
    def _changes_something(self) -> "Update":
        if self.priority is None and self.expiration_date is None:
            raise wrong("priority", "priority or expiration_date is required")
        return self


class PauseTenant(Command):
    """Pause or resume a tenant: that of the routing key, or the one that an operator names."""

    command: Literal["pause_tenant", "resume_tenant"]


class PauseQueue(Command):
    """Pause or resume a queue."""

    command: Literal["pause_queue", "resume_queue"]
    queue: Name


ClassOrAll = Annotated[str, Field(pattern=r"^([A-Za-z0-9][A-Za-z0-9_-]{0,63}|\*)\z")]
"""A job class, known or not, or `*` for all."""


class HoldClass(Command):
    """Start no more jobs of a class."""

    command: Literal["hold_class"]
    job_class: ClassOrAll
    reason: ShortText | None = None


class ReleaseClass(Command):
    """Start jobs of a held class again."""

    command: Literal["release_class"]
    job_class: ClassOrAll


class Drain(Command):
    """Drain one daemon, or all."""

    command: Literal["drain"]
    daemon_id: UUID | None = None


SubscriptionName = Annotated[str, Field(pattern=r"^(pipelines\.)?[A-Za-z0-9][A-Za-z0-9_-]{0,63}\z")]
"""With `pipelines.` before it: one to the events of pipelines."""


class Filter(BaseModel):
    """Which events a subscription is about: of jobs by tenant, queue, job_class; of pipelines by tenant, name, kind."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)

    tenant: Name | None = None
    queue: Name | None = None
    job_class: Name | None = None
    name: Name | None = None
    kind: PipelineKind | None = None
    statuses: list[JobStatus] | None = None


class RegisterSubscription(Command):
    """Note a durable subscription, for clients that have no database; `pipelines.<name>` for one to pipelines."""

    command: Literal["register_subscription"]
    name: SubscriptionName
    filter: Filter = Filter()


AnyCommand = (
    Stop
    | Enqueue
    | Restart
    | Rerun
    | Lock
    | Update
    | PauseTenant
    | PauseQueue
    | SetLimit
    | HoldClass
    | ReleaseClass
    | Drain
    | RegisterSubscription
    | ChangePipelines
    | StopPipelines
    | SetPipelinePriority
    | UpdatePipelineMetadata
    | ChangeStages
    | UpdateStageMetadata
    | AddSchedule
    | ChangeSchedule
)
OPERATORS_ONLY: Final = (PauseQueue, SetLimit, HoldClass, ReleaseClass, Drain)
_ADAPTER: Final[TypeAdapter[AnyCommand]] = TypeAdapter(Annotated[AnyCommand, Field(discriminator="command")])


def read_command(body: bytes) -> AnyCommand:
    """The command in a message's body. Raises InvalidSubmission, naming the field."""
    content = read_json(body, max_bytes=BODY_MAX_BYTES)
    if not isinstance(content, dict):
        raise InvalidSubmission("a command must be an object")
    try:
        return _ADAPTER.validate_json(dump(to_plain(content, 1 + PARAMETERS_DEPTH_MAX)))
    except NotJson as error:
        field = error.where.removeprefix(".") or None
        raise InvalidSubmission(f"{field}: {error.reason}" if field else error.reason, field=field) from None
    except ValidationError as error:
        raise _refusal(error) from None


def _refusal(error: ValidationError) -> InvalidSubmission:
    told = error.errors(include_url=False, include_input=False)[0]
    if told["type"].startswith("union_tag"):
        return InvalidSubmission(f"command: {told['msg']}", field="command")
    # The first word of the place is the command itself.
    place = list(told["loc"][1:])
    field = told.get("ctx", {}).get("field") or (str(place[0]) if place else None)
    index = next((word for word in place[1:] if isinstance(word, int)), None)
    if told["type"] == "extra_forbidden":
        field = ".".join(map(str, place))
        return InvalidSubmission(f"{field} is not a field of this command", code="unknown_field", field=field)
    return InvalidSubmission(f"{field}: {told['msg']}", field=field, index=index)
