"""The event of a pipeline or stage on the wire: the one place that knows its shape. Parsed for subscribers."""

from dataclasses import asdict, dataclass, fields
from datetime import datetime
from typing import Any, Final, Self
from uuid import UUID

import orjson

from jobservice.broker.cloud_event import EVENT_SOURCE, instant, members_of
from jobservice.broker.frames import CLOUD_EVENT, OutgoingMessage
from jobservice.domain.pipeline_facts import PipelineFact, PipelineKind, StageTold
from jobservice.domain.pipelines import PipelineStatus

PIPELINE_DATA_SCHEMA: Final = "urn:jobservice:schema:pipeline-event:1"

_OF_NO_STAGE: Final[dict[str, Any]] = dict.fromkeys(field.name for field in fields(StageTold))


def pipeline_event_id(fact: PipelineFact) -> str:
    """Stable over repetitions, so that a consumer can drop duplicates."""
    return f"{fact.subject}:{fact.sequence}"


def pipeline_event_key(fact: PipelineFact) -> str:
    """The routing key: tenant, the pipeline's name, pipeline or stage, status."""
    return f"{fact.tenant}.{fact.name}.{fact.kind}.{fact.status}"


def pipeline_event_message(fact: PipelineFact) -> OutgoingMessage:
    """The event ready to publish."""
    event_id = pipeline_event_id(fact)
    event = {
        "specversion": "1.0",
        "id": event_id,
        "source": EVENT_SOURCE,
        "type": f"jobservice.{fact.kind}.{fact.status.lower()}",
        "subject": fact.subject,
        "time": instant(fact.time),
        "datacontenttype": "application/json",
        "dataschema": PIPELINE_DATA_SCHEMA,
        **({} if fact.traceparent is None else {"traceparent": fact.traceparent}),
        "data": _data(fact),
    }
    return OutgoingMessage(pipeline_event_key(fact), event_id, orjson.dumps(event), CLOUD_EVENT)


def _data(fact: PipelineFact) -> dict[str, Any]:
    stage = _OF_NO_STAGE if fact.stage is None else asdict(fact.stage)
    return {
        "kind": fact.kind,
        "pipeline_id": fact.pipeline_id,
        "stage_id": stage["stage_id"],
        "tenant": fact.tenant,
        "name": fact.name,
        "stage_name": stage["stage_name"],
        "position": stage["position"],
        "job_class": stage["job_class"],
        "status": fact.status,
        "previous_status": fact.previous_status,
        "final": fact.status.final,
        "sequence": fact.sequence,
        "percent_completed": fact.percent_completed,
        "reason": fact.reason,
        "owner": fact.owner,
        "description": fact.description,
        "correlation_id": fact.correlation_id,
        **{count: stage[count] for count in ("total", "succeeded", "failed", "aborted", "retried")},
    }


@dataclass(frozen=True, slots=True, kw_only=True)
class PipelineEvent:
    """One change of a pipeline or stage as a subscriber gets it. Members that this version does not know are left out.

    A stage that is RUNNING and was RUNNING tells its progress, at most once a second.
    """

    id: str
    time: datetime
    kind: PipelineKind
    """Whose change: all below from `status` to `reason` is of the pipeline, or of the stage."""
    pipeline_id: UUID
    tenant: str
    name: str
    """The pipeline's."""
    status: PipelineStatus
    previous_status: PipelineStatus
    final: bool = False
    sequence: int
    percent_completed: int = 0
    reason: str | None = None
    """Why it FAILED or was ABORTED."""
    owner: str | None = None
    description: str | None = None
    correlation_id: str | None = None
    stage_id: UUID | None = None
    """As all that follows, None in an event of the pipeline."""
    stage_name: str | None = None
    position: int | None = None
    job_class: str | None = None
    total: int | None = None
    """Jobs of the stage; of them have ended:"""
    succeeded: int | None = None
    failed: int | None = None
    aborted: int | None = None
    retried: int | None = None
    """Runs that were followed by another attempt."""
    traceparent: str | None = None

    @property
    def subject(self) -> UUID:
        """The id of what changed: `sequence` counts its changes."""
        return self.stage_id or self.pipeline_id

    @classmethod
    def parse(cls, body: bytes) -> Self:
        """Read an event. Raises ValueError where `body` is not one."""
        try:
            return cls(**members_of(body, _FIELDS, _CONVERTED))
        except (KeyError, TypeError, AttributeError, ValueError) as error:
            raise ValueError(f"this is not a pipeline event: {error!r}") from error


_FIELDS: Final = frozenset(field.name for field in fields(PipelineEvent))
_CONVERTED: Final[dict[str, Any]] = {
    "pipeline_id": UUID,
    "stage_id": UUID,
    "status": PipelineStatus,
    "previous_status": PipelineStatus,
}
