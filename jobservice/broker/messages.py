"""The event on the wire: the one place that knows its shape. Built from a card and a fact; parsed for subscribers.

On the hot path (three events a job): one dictionary and one encoding each, the result spliced in as it is.
"""

from dataclasses import dataclass, fields
from datetime import UTC, datetime
from typing import Any, Final, Self
from uuid import UUID

import orjson

from jobservice.broker.frames import CLOUD_EVENT, OutgoingMessage
from jobservice.domain.facts import Fact, JobCard
from jobservice.domain.states import JobStatus

DATA_SCHEMA: Final = "urn:jobservice:schema:event:1"
EVENT_SOURCE: Final = "/jobservice"

_TYPES: Final = {status: f"jobservice.job.{status.value.lower()}" for status in JobStatus}
_WORDS: Final[dict[JobStatus | None, str | None]] = {None: None} | {status: status.value for status in JobStatus}


def event_id(fact: Fact) -> str:
    """Stable over repetitions, so that a consumer can drop duplicates."""
    return f"{fact.job_id}:{fact.sequence}"


def event_key(card: JobCard, fact: Fact) -> str:
    """The routing key: tenant, queue, job class, status."""
    return f"{card.tenant}.{card.queue}.{card.job_class}.{_WORDS[fact.status]}"


def event_body(
    card: JobCard, fact: Fact, *, result: str | None = None, result_omitted: bool = False, source: str = EVENT_SOURCE
) -> bytes:
    """The event as structured CloudEvents JSON. `result` is JSON text, passed on unread."""
    job_id = str(fact.job_id)
    status = fact.status
    event: dict[str, Any] = {
        "specversion": "1.0",
        "id": f"{job_id}:{fact.sequence}",
        "source": source,
        "type": _TYPES[status],
        "subject": job_id,
        "time": _instant(fact.time),
        "datacontenttype": "application/json",
        "dataschema": DATA_SCHEMA,
    }
    if card.traceparent is not None:
        event["traceparent"] = card.traceparent
    event["data"] = {
        "job_id": job_id,
        "tenant": card.tenant,
        "queue": card.queue,
        "job_class": card.job_class,
        "status": _WORDS[status],
        "previous_status": _WORDS[fact.previous_status],
        "final": status.final,
        "sequence": fact.sequence,
        "run": fact.run,
        "attempt": fact.attempt,
        "daemon_id": _text(fact.daemon_id),
        "priority": fact.priority,
        "owner": card.owner,
        "description": card.description,
        "percent_completed": fact.percent_completed,
        "correlation_id": card.correlation_id,
        "will_retry": fact.will_retry,
        "error": fact.error,
        "result": None if result is None else orjson.Fragment(result),
        "result_omitted": result_omitted,
        "pipeline_id": _text(card.pipeline_id),
        "stage_id": _text(card.stage_id),
    }
    return orjson.dumps(event)


def event_message(
    card: JobCard, fact: Fact, *, result: str | None = None, result_omitted: bool = False, source: str = EVENT_SOURCE
) -> OutgoingMessage:
    """The event ready to publish."""
    body = event_body(card, fact, result=result, result_omitted=result_omitted, source=source)
    return OutgoingMessage(event_key(card, fact), event_id(fact), body, CLOUD_EVENT)


def _text(identity: UUID | None) -> str | None:
    # The driver's own kind of UUID is a subclass, and orjson refuses those.
    return None if identity is None else str(identity)


def _instant(time: datetime) -> str:
    # Always with microseconds: orjson leaves them out where they are zero, and texts of two lengths do not sort.
    utc = time if time.tzinfo is UTC else time.astimezone(UTC)
    return utc.isoformat(timespec="microseconds")[:-6] + "Z"


@dataclass(frozen=True, slots=True, kw_only=True)
class JobEvent:
    """One status change as a subscriber gets it. Members that this version does not know are left out."""

    id: str
    time: datetime
    job_id: UUID
    tenant: str
    queue: str
    job_class: str
    status: JobStatus
    previous_status: JobStatus | None = None
    final: bool = False
    sequence: int
    run: int = 0
    attempt: int = 0
    daemon_id: UUID | None = None
    priority: int = 0
    owner: str | None = None
    description: str | None = None
    percent_completed: int = 0
    correlation_id: str | None = None
    will_retry: bool = False
    error: dict[str, Any] | None = None
    """`{"type", "message"}` when FAILED or `will_retry`."""
    result: Any = None
    result_omitted: bool = False
    pipeline_id: UUID | None = None
    stage_id: UUID | None = None
    traceparent: str | None = None

    @classmethod
    def parse(cls, body: bytes) -> Self:
        """Read an event. Raises ValueError where `body` is not one."""
        try:
            event = orjson.loads(body)
            data = {name: value for name, value in event["data"].items() if name in _DATA_FIELDS}
            for name, convert in _CONVERTED.items():
                if data.get(name) is not None:
                    data[name] = convert(data[name])
            time = datetime.fromisoformat(event["time"])
            return cls(id=event["id"], time=time, traceparent=event.get("traceparent"), **data)
        except (KeyError, TypeError, AttributeError, ValueError) as error:
            raise ValueError(f"this is not a job event: {error!r}") from error


_DATA_FIELDS: Final = frozenset(field.name for field in fields(JobEvent)) - {"id", "time", "traceparent"}
_CONVERTED: Final[dict[str, Any]] = {
    "job_id": UUID,
    "daemon_id": UUID,
    "pipeline_id": UUID,
    "stage_id": UUID,
    "status": JobStatus,
    "previous_status": JobStatus,
}
