"""The commands as they come over the wire: strict models, one for each, and nothing else is understood."""

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Annotated, Any, Final, Literal
from uuid import UUID

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, TypeAdapter, WithJsonSchema, model_validator
from pydantic_core import PydanticCustomError, ValidationError

from jobservice.broker.bodies import read_json
from jobservice.domain.errors import InvalidSubmission
from jobservice.domain.names import PRIORITIES
from jobservice.domain.states import FINAL, JobStatus
from jobservice.sdk.json_values import PARAMETERS_DEPTH_MAX, NotJson, dump, to_plain

IDS_MAX: Final = 10_000
BODY_MAX_BYTES: Final = 1_048_576

Name = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_-]{0,63}\z")]
ShortText = Annotated[str, Field(max_length=1_000)]


def _zoned(value: Any) -> datetime:
    try:
        date = datetime.fromisoformat(value)
        if date.utcoffset() is not None:
            return date.astimezone(UTC)
    except (ValueError, TypeError, OverflowError):
        pass
    raise PydanticCustomError("date", "must be an ISO 8601 date with a zone, such as 2026-01-31T12:00:00Z")


def _priority(value: Any) -> Any:
    if isinstance(value, str):
        if value not in PRIORITIES:
            raise PydanticCustomError(
                "priority", "must be a whole number or one of {names}", {"names": ", ".join(PRIORITIES)}
            )
        return PRIORITIES[value]
    return value


ZonedDate = Annotated[datetime, BeforeValidator(_zoned)]
Priority = Annotated[
    int,
    Field(ge=-(2**31), lt=2**31),
    BeforeValidator(_priority),
    WithJsonSchema(
        {"anyOf": [{"type": "integer", "minimum": -(2**31), "maximum": 2**31 - 1}, {"enum": list(PRIORITIES)}]}
    ),
]


def _wrong(field: str, text: str) -> PydanticCustomError:
    return PydanticCustomError("wrong", "{text}", {"field": field, "text": text})


def _given(name: str) -> dict[str, Any]:
    """For the written contract: the member is there and not null. Such a rule stands beside the check that it tells."""
    return {"required": [name], "properties": {name: {"not": {"type": "null"}}}}


def _written(*rules: dict[str, Any]) -> ConfigDict:
    return ConfigDict(json_schema_extra={"allOf": list(rules)})


_NAMED: Final = {"oneOf": [_given("job_id"), _given("job_ids")]}


class Command(BaseModel):
    """What all have: a `tenant` must be that of the routing key, or walls an operator's command off."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)

    tenant: Name | None = None


class OnJobs(Command):
    """A command on jobs that are named."""

    model_config = _written(_NAMED)

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
            raise _wrong("job_ids", "give job_id or job_ids, not both")
        if not self.names_jobs and not self._selects():
            raise _wrong("job_id", "job_id or job_ids is required")
        return self

    def _selects(self) -> bool:
        return False


_ENDED: Final = {"enum": sorted(FINAL)}
_SELECTED: Final = {"anyOf": [_given("job_class"), _given("status"), _given("owner")]}


class Stop(OnJobs):
    """Stop jobs that are named, or all of a selection."""

    model_config = _written(
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
            raise _wrong("job_ids", "give job ids or a selection, not both")
        if not self.statuses:
            raise _wrong("status", "jobs that have ended cannot be stopped")
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

    model_config = _written(_NAMED, {"anyOf": [_given("priority"), _given("expiration_date")]})

    command: Literal["update"]
    priority: Priority | None = None
    expiration_date: ZonedDate | None = None

    @model_validator(mode="after")
    def _changes_something(self) -> "Update":
        if self.priority is None and self.expiration_date is None:
            raise _wrong("priority", "priority or expiration_date is required")
        return self


class PauseTenant(Command):
    """Pause or resume a tenant: that of the routing key, or the one that an operator names."""

    command: Literal["pause_tenant", "resume_tenant"]


class PauseQueue(Command):
    """Pause or resume a queue."""

    command: Literal["pause_queue", "resume_queue"]
    queue: Name


class SetLimit(Command):
    """Set limit and weight of a queue, a tenant, or a tenant on a queue. What is absent stays; null takes it away."""

    model_config = _written(
        {"anyOf": [_given("queue"), _given("tenant")]},
        {"anyOf": [{"required": ["max_running"]}, {"required": ["weight"]}]},
        {"if": {"required": ["weight"]}, "then": _given("tenant")},
    )

    command: Literal["set_limit"]
    queue: Name | None = None
    max_running: Annotated[int, Field(ge=0, lt=2**31)] | None = None
    weight: Annotated[float, Field(gt=0, le=1e6, allow_inf_nan=False)] | None = None

    @model_validator(mode="after")
    def _of_something(self) -> "SetLimit":
        if self.queue is None and self.tenant is None:
            raise _wrong("queue", "queue, tenant or both are required")
        if not self.model_fields_set & {"max_running", "weight"}:
            raise _wrong("max_running", "max_running or weight is required")
        if self.tenant is None and "weight" in self.model_fields_set:
            raise _wrong("weight", "a queue has no weight: name the tenant too")
        return self


class Drain(Command):
    """Drain one daemon, or all."""

    command: Literal["drain"]
    daemon_id: UUID | None = None


class Filter(BaseModel):
    """Which events a subscription is about."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)

    tenant: Name | None = None
    queue: Name | None = None
    job_class: Name | None = None
    statuses: list[JobStatus] | None = None


class RegisterSubscription(Command):
    """Note a durable subscription, for clients that have no database."""

    command: Literal["register_subscription"]
    name: Name
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
    | Drain
    | RegisterSubscription
)
OPERATORS_ONLY: Final = (PauseQueue, SetLimit, Drain)
_ADAPTER: Final[TypeAdapter[AnyCommand]] = TypeAdapter(Annotated[AnyCommand, Field(discriminator="command")])


def read_command(body: bytes) -> AnyCommand:
    """The command in a message's body. Raises InvalidSubmission, naming the field."""
    content = read_json(body, max_bytes=BODY_MAX_BYTES)
    if not isinstance(content, dict):
        raise InvalidSubmission("a command must be an object")
    try:
        return _ADAPTER.validate_json(dump(to_plain(content, PARAMETERS_DEPTH_MAX)))
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
