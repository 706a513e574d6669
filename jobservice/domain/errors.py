"""All errors that users of the package can meet.

JobServiceError
├── InvalidSubmission      a JobInfo that was refused; `code`, `field`, `index`
├── UnknownJob             no such job (or another tenant's)
├── UnknownPipeline        no such pipeline
├── UnknownStage           no such stage
├── UnknownInstance        no such instance of a job with steps
├── UnknownSchedule        no such schedule
├── NotLegal               the verb is not legal in the job's status; `status`
├── UnavailableError
│   ├── DatabaseUnavailable
│   └── BrokerUnavailable
├── SchemaError            schema missing, older or newer than the code
├── ConfigurationError     a setting is wrong; names it
├── DefinitionError        a job class is wrongly declared; names it
├── JobError               raised inside a run
│   ├── JobParameterMissing
│   ├── JobParameterInvalid
│   ├── JobAborted         the job aborts itself, or found that it was stopped
│   ├── JobTimeout         the run took longer than its timeout
│   └── Retry              raised by a job that wants to be run again later
└── ServerStartError       a private server did not start
"""

from datetime import timedelta
from typing import Literal

ErrorCode = Literal[
    "bad_json",
    "bad_field",
    "unknown_field",
    "too_large",
    "unknown_tenant",
    "unknown_class",
    "unknown_job",
    "unknown_pipeline",
    "unknown_stage",
    "unknown_instance",
    "unknown_schedule",
    "not_legal",
    "refused",
    "unavailable",
]


class JobServiceError(Exception):
    """The root: catches everything this package raises on purpose."""

    code: ErrorCode = "refused"


class InvalidSubmission(JobServiceError):
    """A submission was refused; nothing of its batch was stored.

    `field` names the offending field when one is to blame, `index` its member of the batch, from 0.
    """

    def __init__(
        self, message: str, *, code: ErrorCode = "bad_field", field: str | None = None, index: int | None = None
    ) -> None:
        super().__init__(message)
        self.code = code
        self.field = field
        self.index = index


class UnknownJob(JobServiceError):
    """There is no job with this id (for this tenant)."""

    code: ErrorCode = "unknown_job"

    def __init__(self, job_id: object) -> None:
        super().__init__(f"there is no job {job_id}")
        self.job_id = job_id


class UnknownPipeline(JobServiceError):
    """There is no pipeline with this id (for this tenant)."""

    code: ErrorCode = "unknown_pipeline"

    def __init__(self, pipeline_id: object) -> None:
        super().__init__(f"there is no pipeline {pipeline_id}")
        self.pipeline_id = pipeline_id


class UnknownStage(JobServiceError):
    """There is no stage with this id (for this tenant)."""

    code: ErrorCode = "unknown_stage"

    def __init__(self, stage_id: object) -> None:
        super().__init__(f"there is no stage {stage_id}")
        self.stage_id = stage_id


class UnknownSchedule(JobServiceError):
    """There is no schedule of this name (for this tenant)."""

    code: ErrorCode = "unknown_schedule"

    def __init__(self, name: str, tenant: str) -> None:
        super().__init__(f"there is no schedule {name} of tenant {tenant}")
        self.name = name


class UnknownInstance(JobServiceError):
    """There is no instance with this id."""

    code: ErrorCode = "unknown_instance"

    def __init__(self, instance_id: object) -> None:
        super().__init__(f"there is no instance {instance_id}")
        self.instance_id = instance_id


class NotLegal(JobServiceError):
    """It is in a status in which this verb changes nothing. `kind`: what it is, a job if nothing else is said."""

    code: ErrorCode = "not_legal"

    def __init__(self, job_id: object, verb: str, status: str, detail: str | None = None, *, kind: str = "job") -> None:
        super().__init__(f"cannot {verb} {kind} {job_id}: it is {status}" + (f" ({detail})" if detail else ""))
        self.job_id = job_id
        self.verb = verb
        self.status = status


class UnavailableError(JobServiceError):
    """A server cannot be reached now; the same call may succeed later."""

    code: ErrorCode = "unavailable"


class DatabaseUnavailable(UnavailableError):
    """PostgreSQL cannot be reached."""


class BrokerUnavailable(UnavailableError):
    """RabbitMQ cannot be reached."""


class SchemaError(JobServiceError):
    """The schema is missing, older or newer than this code can use; the text says which and what to do."""


class ConfigurationError(JobServiceError):
    """A setting is unknown or wrong; the text names it."""


class DefinitionError(JobServiceError):
    """A job class is declared wrongly, or two share a name; the text names them."""


class JobError(JobServiceError):
    """The root of what is raised inside a run."""


class JobParameterMissing(JobError):
    """A required parameter of `run` was not given, or what it refers to is not there."""

    def __init__(self, name: str, reason: str | None = None) -> None:
        super().__init__(f"parameter {name!r} is missing" + (f": {reason}" if reason else ""))
        self.name = name


class JobParameterInvalid(JobError):
    """A parameter has the wrong type, a null where none may be, or is unknown to `run`."""

    def __init__(self, name: str, reason: str) -> None:
        super().__init__(f"parameter {name!r} is invalid: {reason}")
        self.name = name
        self.reason = reason


class JobAborted(JobError):
    """Raised by `abort()` and `raise_if_stopped()`; the job ends ABORTED with this reason."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


class JobTimeout(JobError, TimeoutError):
    """The run took longer than its timeout. A TimeoutError, so that `retry_on` may name either."""

    def __init__(self, seconds: float) -> None:
        super().__init__(f"the run took longer than its timeout of {seconds:g} s")
        self.seconds = seconds


class Retry(JobError):
    """Raised by a job: run me again, after so many seconds, as long as attempts are left; else the job is FAILED.

    `raise Retry(after=30) from error` keeps the error as the reason; without `after` the class's back-off decides.
    """

    def __init__(
        self, reason: str = "the job asked to be run again", *, after: float | timedelta | None = None
    ) -> None:
        super().__init__(reason)
        self.after = after.total_seconds() if isinstance(after, timedelta) else after


class ServerStartError(JobServiceError):
    """A private PostgreSQL or RabbitMQ could not be found, set up or started; the text says what to do."""
