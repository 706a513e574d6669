"""A submission as it is written down. The rules themselves are those of the SQL function `submit`, at every door."""

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from jobservice.control.members import Name, Priority, ZonedDate

Text = Annotated[str, Field(pattern=r"^[^\u0000]*$")]
ShortText = Annotated[Text, Field(max_length=255)]


class JobFields(BaseModel):
    """What every submitted job may have."""

    model_config = ConfigDict(extra="forbid", use_attribute_docstrings=True)

    tenant: Name | None = None
    """Must be that of the routing key, where it is given."""
    queue: Name | None = None
    """`default` where none is given."""
    parameters: dict[str, Any] | None = None
    """Those of the class's `run`. At most 64 deep and 1 MiB, numbers finite, no NUL in any text."""
    priority: Priority | None = None
    """Higher first; 0 where none is given."""
    description: Annotated[Text, Field(max_length=10_000)] | None = None
    owner: ShortText | None = None
    expiration_date: ZonedDate | None = None
    """Do not start after. It must not have passed."""
    trigger_after_date: ZonedDate | None = None
    """Do not start before."""
    timeout: Annotated[float, Field(gt=0, lt=1e9)] | None = None
    """Seconds that a run may take; as the class says where none are given."""
    max_attempts: Annotated[int, Field(ge=1, le=1_000_000)] | None = None
    """Runs until the job is FAILED for good; as the class says where none are given."""
    idempotency_key: Annotated[Text, Field(min_length=1, max_length=512)] | None = None
    """The same key of a tenant twice makes one job. Over AMQP the message id serves where none is given."""
    concurrency_key: Annotated[Text, Field(min_length=1, max_length=255)] | None = None
    """Jobs of a tenant with one key run one at a time."""
    correlation_id: ShortText | None = None
    traceparent: ShortText | None = None
    """W3C Trace Context; carried into the job's events."""
    user_metadata: dict[str, Any] | None = None
    """Not read by the service. The same limits as for `parameters`."""
    locked: bool | None = None
    """Whether retention never deletes it."""


class Submission(JobFields):
    """One job to be stored. A member that is null is as if it were not there."""

    job_class: Name
    """The name under which daemons know the class. Whether one does is not asked at the submission."""
    status: Literal["PENDING", "QUEUED"] | None = None
    """QUEUED where none is given. A PENDING job waits for the command `enqueue`."""
