"""A hold or release of a job class as it is published. `jobservice.broker.class_messages` writes it."""

from typing import Annotated, Literal

from pydantic import ConfigDict, Field, with_config
from typing_extensions import TypedDict

from jobservice.broker.class_messages import CLASS_DATA_SCHEMA
from jobservice.contract.event import INSTANT
from jobservice.control.wire import ClassOrAll
from jobservice.domain.class_facts import ClassStatus


@with_config(ConfigDict(use_attribute_docstrings=True))
class ClassEventData(TypedDict):
    """A job class, or all of them, was held or released."""

    kind: Literal["class"]
    job_class: ClassOrAll
    status: ClassStatus
    sequence: Annotated[int, Field(ge=1)]
    """Grows with each change. Ignore an event that is not above the last one seen of the class."""
    reason: str | None
    """Why it was held; of a release, why it had been."""


@with_config(ConfigDict(use_attribute_docstrings=True))
class ClassEvent(TypedDict):
    """A CloudEvent 1.0 in JSON. It comes at least once, and never before an earlier one of the same class."""

    specversion: Literal["1.0"]
    id: Annotated[str, Field(pattern=r"^([A-Za-z0-9][A-Za-z0-9_-]{0,63}|\*):[1-9][0-9]*$")]
    """`<job class>:<sequence>`; the same when the event comes again."""
    source: Annotated[str, Field(json_schema_extra={"format": "uri-reference"})]
    type: Annotated[str, Field(pattern=r"^jobservice\.class\.(held|released)$")]
    subject: ClassOrAll
    """The job class."""
    time: Annotated[str, Field(pattern=INSTANT, json_schema_extra={"format": "date-time"})]
    """When it happened, by the database's clock."""
    datacontenttype: Literal["application/json"]
    dataschema: Annotated[str, Field(json_schema_extra={"const": CLASS_DATA_SCHEMA})]
    data: ClassEventData
