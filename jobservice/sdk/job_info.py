"""Owns JobInfo, the record of a job: what a submitter fills in, and what the service tells back of it.

It becomes the JSON of a submission here, at no other place. Nothing here talks to a server.
"""

from collections.abc import Mapping
from dataclasses import KW_ONLY, MISSING, dataclass, field, fields
from datetime import datetime
from typing import Any, Final, TypeVar
from uuid import UUID

from pydantic import TypeAdapter

from jobservice.domain.errors import InvalidSubmission, JobParameterInvalid, JobParameterMissing
from jobservice.domain.names import DEFAULT_QUEUE, DEFAULT_TENANT, PRIORITIES
from jobservice.domain.states import WAITING, JobStatus
from jobservice.sdk.json_values import PARAMETERS_DEPTH_MAX, NotJson, dump, to_plain
from jobservice.sdk.references import without_references

T = TypeVar("T")


class JobClassName(str):
    """The name of a job class that was given as a class: the class is kept, to check the parameters against it."""

    job_class: Any

    def __new__(cls, job_class: Any) -> "JobClassName":
        """Reads the name of an AbstractJob; anything else is an InvalidSubmission."""
        if not isinstance(job_class, type) or not hasattr(job_class, "registered_name"):
            raise InvalidSubmission(f"job_class is a name or a job class, not {job_class!r}", field="job_class")
        name = super().__new__(cls, job_class.registered_name())
        name.job_class = job_class
        return name


@dataclass(frozen=True, slots=True)
class JobInfo:
    """One job. Dates have a zone, durations are seconds. Fields after `status` are read-only: the service fills them.

    `job_class` may be the class itself: its name is kept, its queue applies where none is named, and the parameters
    are checked against its `run` when the submission is made.
    """

    job_class: Any
    """A name (str) from the construction on, whatever was given."""
    _: KW_ONLY
    tenant: str = DEFAULT_TENANT
    queue: str | None = None
    """None at the construction: the class's queue, or `default`."""
    parameters: Mapping[str, Any] = field(default_factory=dict)
    priority: int | str = 0
    """Higher first; the names of `jobservice.domain.names.PRIORITIES` are understood and become numbers."""
    description: str | None = None
    owner: str | None = None
    expiration_date: datetime | None = None
    """Do not start after this."""
    trigger_after_date: datetime | None = None
    timeout: float | None = None
    max_attempts: int | None = None
    idempotency_key: str | None = None
    concurrency_key: str | None = None
    correlation_id: str | None = None
    traceparent: str | None = None
    user_metadata: Mapping[str, Any] = field(default_factory=dict)
    locked: bool = False
    """Retention never removes a locked job."""
    status: JobStatus = JobStatus.QUEUED

    job_id: UUID | None = None
    """None until it is stored; `id` for where it is."""
    number: int | None = None
    given_priority: int | None = None
    """What was given as priority, where waiting has raised it (aging); else None."""
    run: int = 0
    attempt: int = 0
    lost_runs: int = 0
    sequence: int = 0
    daemon_id: UUID | None = None
    held: str | None = None
    blocked: bool = False
    percent_completed: int = 0
    progress_done: int = 0
    progress_total: int = 0
    progress_message: str | None = None
    progress_info: Mapping[str, Any] | None = None
    """What the job tells beside the counts; its member `steps` has the named steps with their times."""
    estimated_completion: datetime | None = None
    result: Any = None
    result_class: str | None = None
    error_type: str | None = None
    error_message: str | None = None
    stack_trace: str | None = None
    created_date: datetime | None = None
    queued_date: datetime | None = None
    claim_date: datetime | None = None
    start_date: datetime | None = None
    stop_date: datetime | None = None
    stop_requested_at: datetime | None = None
    stop_reason: str | None = None
    pipeline_id: UUID | None = None
    stage_id: UUID | None = None
    rerun_of: UUID | None = None

    def __post_init__(self) -> None:
        if not isinstance(self.job_class, str):
            object.__setattr__(self, "job_class", JobClassName(self.job_class))
        if self.queue is None:
            object.__setattr__(self, "queue", _queue_of(self.job_class))
        if isinstance(self.priority, str):
            object.__setattr__(self, "priority", _priority_named(self.priority))

    @property
    def id(self) -> UUID:
        """The job's id. Raises ValueError for a JobInfo that was not stored yet."""
        if self.job_id is None:
            raise ValueError(f"this JobInfo of {self.job_class} has no id: it has not been submitted")
        return self.job_id

    def to_submission(self) -> dict[str, Any]:
        """The members of the contract's Submission that differ from its defaults, ready to be dumped as JSON.

        Raises InvalidSubmission, naming the field, for what JSON or PostgreSQL cannot carry and for parameters that a
        job class given as a class does not take. All other rules are the server's.
        """
        submission = {"job_class": _member("job_class", str(self.job_class))}
        for name, default in _SUBMITTED.items():
            value = getattr(self, name)
            if value != default:
                submission[name] = _member(name, value)
        if isinstance(self.job_class, JobClassName):
            check_parameters(self.job_class.job_class, submission.get("parameters", {}))
        return submission

    def result_as(self, kind: type[T]) -> T:
        """The result as the type that the job returned: a model, `list[Path]` … Raises pydantic's ValidationError."""
        return TypeAdapter(kind).validate_json(dump(self.result))


def _default_of(name: str) -> Any:
    declared = next(each for each in fields(JobInfo) if each.name == name)
    return declared.default if declared.default is not MISSING else {}


_SUBMITTED: Final[dict[str, Any]] = {
    name: DEFAULT_QUEUE if name == "queue" else _default_of(name)
    for name in (
        "tenant",
        "queue",
        "parameters",
        "priority",
        "description",
        "owner",
        "expiration_date",
        "trigger_after_date",
        "timeout",
        "max_attempts",
        "idempotency_key",
        "concurrency_key",
        "correlation_id",
        "traceparent",
        "user_metadata",
        "locked",
        "status",
    )
}
"""What a submitter may set → the service's default, which need not be sent."""


def _queue_of(job_class: str) -> str:
    queue = job_class.job_class.queue if isinstance(job_class, JobClassName) else None
    return queue or DEFAULT_QUEUE


def _priority_named(name: str) -> int:
    try:
        return PRIORITIES[name]
    except KeyError:
        raise InvalidSubmission(
            f"priority is a number or one of {', '.join(PRIORITIES)}, not {name!r}", field="priority"
        ) from None


def _member(name: str, value: Any) -> Any:
    """One member of the submission as plain JSON."""
    if name == "status":
        return _waiting(value)
    if isinstance(value, datetime):
        return _zoned(name, value)
    try:
        plain = to_plain(value, PARAMETERS_DEPTH_MAX)
        dump(plain)
    except NotJson as error:
        raise InvalidSubmission(f"{name}{error.where}: {error.reason}", field=name + error.where) from None
    if name in ("parameters", "user_metadata") and not isinstance(plain, dict):
        raise InvalidSubmission(f"{name} is an object, not {type(value).__name__}", field=name)
    return plain


def _waiting(status: Any) -> str:
    if status not in WAITING:
        raise InvalidSubmission(f"status is PENDING or QUEUED at submission, not {status}", field="status")
    return str(status)


def _zoned(name: str, date: datetime) -> str:
    if date.utcoffset() is None:
        raise InvalidSubmission(f"{name} {date.isoformat()} has no time zone; give it one", field=name)
    return date.isoformat()


def check_parameters(job_class: Any, parameters: Mapping[str, Any]) -> None:
    """Raises InvalidSubmission for parameters that the class does not take. References may stand for anything."""
    plain, unknown = without_references(parameters)
    try:
        job_class.check_parameters(dump(plain), unknown)
    except (JobParameterMissing, JobParameterInvalid) as error:
        raise InvalidSubmission(f"{job_class.registered_name()}: {error}", field=f"parameters.{error.name}") from error
