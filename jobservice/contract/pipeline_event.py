"""A change of a pipeline or stage as it is published. `jobservice.broker.pipeline_messages` writes it."""

from typing import Annotated, Any, Final, Literal, NotRequired
from uuid import UUID

from pydantic import ConfigDict, Field, with_config
from typing_extensions import TypedDict

from jobservice.broker.pipeline_messages import PIPELINE_DATA_SCHEMA
from jobservice.contract.event import INSTANT
from jobservice.control.members import Name
from jobservice.domain.pipeline_facts import PipelineKind
from jobservice.domain.pipelines import ENDED, PipelineStatus

_COUNTS: Final = ("total", "succeeded", "failed", "aborted", "retried")
_OF_STAGES: Final = {
    "stage_id": {"type": "string"},
    "stage_name": {"type": "string"},
    "position": {"type": "integer"},
} | {name: {"type": "integer"} for name in _COUNTS}
_STATUS_AND_KIND_FIT: Final[list[Any]] = [
    {
        "if": {"properties": {"status": {"enum": sorted(ENDED)}}},
        "then": {"properties": {"final": {"const": True}}},
        "else": {"properties": {"final": {"const": False}}},
    },
    {
        "if": {"properties": {"kind": {"const": "stage"}}},
        "then": {"properties": _OF_STAGES},
        "else": {"properties": {name: {"type": "null"} for name in (*_OF_STAGES, "job_class")}},
    },
]

Count = Annotated[int, Field(ge=0)] | None


@with_config(ConfigDict(use_attribute_docstrings=True, json_schema_extra={"allOf": _STATUS_AND_KIND_FIT}))
class PipelineEventData(TypedDict):
    """One change of a pipeline or of a stage."""

    kind: PipelineKind
    """Which of the two changed: status, sequence, percentage and reason are its own."""
    pipeline_id: UUID
    stage_id: UUID | None
    """Null in an event of a pipeline, as are name, position, class and counts of a stage."""
    tenant: Name
    name: Name
    """The pipeline's."""
    stage_name: Name | None
    position: Annotated[int, Field(ge=1)] | None
    job_class: Name | None
    """Of those jobs of the stage that name none."""
    status: PipelineStatus
    """The status that it changed to."""
    previous_status: PipelineStatus
    """RUNNING before RUNNING is the progress of a stage, told at most once a second."""
    final: bool
    """Nothing follows, unless somebody restarts the pipeline."""
    sequence: Annotated[int, Field(ge=1)]
    """Counts the changes of this pipeline, or of this stage. Ignore an event that is not above the last one seen."""
    percent_completed: Annotated[int, Field(ge=0, le=100)]
    reason: str | None
    """Why it FAILED or was ABORTED."""
    owner: str | None
    description: str | None
    correlation_id: str | None
    total: Count
    """Jobs of the stage."""
    succeeded: Count
    failed: Count
    aborted: Count
    retried: Count
    """Runs of its jobs that were followed by another attempt."""


@with_config(ConfigDict(use_attribute_docstrings=True))
class PipelineEvent(TypedDict):
    """A CloudEvent 1.0 in JSON. It comes at least once, and never before an earlier one of the same pipeline."""

    specversion: Literal["1.0"]
    id: Annotated[str, Field(pattern=r"^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}:[1-9][0-9]*$")]
    """`<pipeline or stage id>:<sequence>`; the same when the event comes again."""
    source: Annotated[str, Field(json_schema_extra={"format": "uri-reference"})]
    type: Annotated[
        str,
        Field(pattern=f"^jobservice\\.(pipeline|stage)\\.({'|'.join(status.lower() for status in PipelineStatus)})$"),
    ]
    subject: UUID
    """The id of the pipeline, or of the stage."""
    time: Annotated[str, Field(pattern=INSTANT, json_schema_extra={"format": "date-time"})]
    """When it happened, by the database's clock."""
    datacontenttype: Literal["application/json"]
    dataschema: Annotated[str, Field(json_schema_extra={"const": PIPELINE_DATA_SCHEMA})]
    traceparent: NotRequired[str]
    """That of the submission (W3C Trace Context)."""
    data: PipelineEventData
