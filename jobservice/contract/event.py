"""A status change as it is published. `jobservice.broker.messages` writes it; later versions may add members."""

from typing import Annotated, Any, Final, Literal, NotRequired
from uuid import UUID

from pydantic import ConfigDict, Field, with_config
from typing_extensions import TypedDict

from jobservice.broker.messages import DATA_SCHEMA
from jobservice.control.members import Name
from jobservice.domain.states import FINAL, JobStatus

INSTANT: Final = r"^[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}\.[0-9]{6}Z$"
"""UTC with microseconds, always: as texts, such times sort."""

_FINAL = sorted(FINAL)
_STATUS_FITS: Final[list[Any]] = [
    {
        "if": {"properties": {"status": {"enum": _FINAL}}},
        "then": {"properties": {"final": {"const": True}, "will_retry": {"const": False}}},
        "else": {"properties": {"final": {"const": False}}},
    },
    {
        "if": {
            "anyOf": [
                {"properties": {"status": {"const": "FAILED"}}},
                {"properties": {"will_retry": {"const": True}}},
            ]
        },
        "then": {"properties": {"error": {"type": "object"}}},
        "else": {"properties": {"error": {"type": "null"}}},
    },
    {
        "if": {"properties": {"status": {"const": "SUCCEEDED"}, "result_omitted": {"const": False}}},
        "else": {"properties": {"result": {"type": "null"}}},
    },
]


@with_config(ConfigDict(use_attribute_docstrings=True))
class RunError(TypedDict):
    """Why a run failed. The stack trace stays in the database."""

    type: str
    message: str


@with_config(ConfigDict(use_attribute_docstrings=True, json_schema_extra={"allOf": _STATUS_FITS}))
class JobEventData(TypedDict):
    """One status change of one job."""

    job_id: UUID
    tenant: Name
    queue: Name
    job_class: Name
    status: JobStatus
    """The status that it changed to."""
    previous_status: JobStatus | None
    """Null in the event of a submission."""
    final: bool
    """Nothing follows, unless somebody restarts the job."""
    sequence: Annotated[int, Field(ge=1)]
    """Counts the changes of a job; the submission is 1. Ignore an event that is not above the last one seen."""
    run: Annotated[int, Field(ge=0)]
    """Counts the claims of a job. Never goes back."""
    attempt: Annotated[int, Field(ge=0)]
    """Counts the runs that are held against `max_attempts`."""
    daemon_id: UUID | None
    priority: int
    owner: str | None
    description: str | None
    percent_completed: Annotated[int, Field(ge=0, le=100)]
    correlation_id: str | None
    will_retry: bool
    """The run failed, and another one follows."""
    error: RunError | None
    result: Any
    """What the job returned, in the event of its success."""
    result_omitted: bool
    """The result is too long for an event; the database has it."""
    pipeline_id: UUID | None
    stage_id: UUID | None


@with_config(ConfigDict(use_attribute_docstrings=True))
class JobEvent(TypedDict):
    """A CloudEvent 1.0 in JSON. It comes at least once, and never before an earlier one of the same job."""

    specversion: Literal["1.0"]
    id: Annotated[str, Field(pattern=r"^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}:[1-9][0-9]*$")]
    """`<job id>:<sequence>`; the same when the event comes again."""
    source: Annotated[str, Field(json_schema_extra={"format": "uri-reference"})]
    type: Annotated[str, Field(pattern=f"^jobservice\\.job\\.({'|'.join(status.lower() for status in JobStatus)})$")]
    subject: UUID
    """The job id."""
    time: Annotated[str, Field(pattern=INSTANT, json_schema_extra={"format": "date-time"})]
    """When it was committed, by the database's clock."""
    datacontenttype: Literal["application/json"]
    dataschema: Annotated[str, Field(json_schema_extra={"const": DATA_SCHEMA})]
    traceparent: NotRequired[str]
    """That of the submission (W3C Trace Context)."""
    data: JobEventData
