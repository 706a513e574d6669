"""The event on the wire: the one place that knows its shape. Built from a card and a fact; parsed for subscribers.

On the hot path: three events a job.
"""

from dataclasses import dataclass, fields
from datetime import datetime
from functools import lru_cache
from typing import Any, Final, NamedTuple, Self
from uuid import UUID

from jobservice.broker.cloud_event import EVENT_SOURCE, as_json, instant, members_of
from jobservice.broker.frames import CLOUD_EVENT, OutgoingMessage
from jobservice.domain.facts import Fact, JobCard
from jobservice.domain.states import JobStatus

DATA_SCHEMA: Final = "urn:jobservice:schema:event:1"


class _Told(NamedTuple):
    """What a status contributes, as JSON."""

    name: str
    type: str
    final: str


_STATUSES: Final = {
    status: _Told(
        name=f'"{status.value}"',
        type=f'"jobservice.job.{status.value.lower()}"',
        final="true" if status.final else "false",
    )
    for status in JobStatus
}
_QUOTED: Final[dict[JobStatus | None, str]] = {None: "null"} | {status: f'"{status.value}"' for status in JobStatus}


def event_key(card: JobCard, fact: Fact) -> str:
    """The routing key: tenant, queue, job class, status."""
    return f"{card.tenant}.{card.queue}.{card.job_class}.{fact.status}"


def event_message(
    card: JobCard, fact: Fact, *, result: str | None = None, result_omitted: bool = False
) -> OutgoingMessage:
    """The event ready to publish, as structured CloudEvents JSON; `result` is JSON text, passed on unread.

    Its id is stable over repetitions, so that a consumer can drop duplicates.
    """
    job_id = str(fact.job_id)
    body = _body(job_id, card, fact, result, result_omitted)
    return OutgoingMessage(event_key(card, fact), f"{job_id}:{fact.sequence}", body, CLOUD_EVENT)


def _body(job_id: str, card: JobCard, fact: Fact, result: str | None, result_omitted: bool) -> bytes:
    # Put together as text: three times as fast as a dictionary and its encoding. Names need no escaping, nor does what
    # we made ourselves; everything else goes through the encoder.
    status, previous = _STATUSES[fact.status], _QUOTED[fact.previous_status]
    trace = "" if card.traceparent is None else f',"traceparent":{as_json(card.traceparent)}'
    daemon_id = _quoted_daemon(fact.daemon_id)
    return (
        f'{{"specversion":"1.0","id":"{job_id}:{fact.sequence}","source":"{EVENT_SOURCE}","type":{status.type},'
        f'"subject":"{job_id}","time":"{instant(fact.time)}","datacontenttype":"application/json",'
        f'"dataschema":"{DATA_SCHEMA}"{trace},"data":{{"job_id":"{job_id}","tenant":"{card.tenant}",'
        f'"queue":"{card.queue}","job_class":"{card.job_class}","status":{status.name},"previous_status":{previous},'
        f'"final":{status.final},"sequence":{fact.sequence},"run":{fact.run},"attempt":{fact.attempt},'
        f'"daemon_id":{daemon_id},"priority":{fact.priority},"owner":{as_json(card.owner)},'
        f'"description":{as_json(card.description)},"percent_completed":{fact.percent_completed},'
        f'"correlation_id":{as_json(card.correlation_id)},"will_retry":{"true" if fact.will_retry else "false"},'
        f'"error":{as_json(fact.error)},"result":{"null" if result is None else result},'
        f'"result_omitted":{"true" if result_omitted else "false"},"pipeline_id":{_quoted(card.pipeline_id)},'
        f'"stage_id":{_quoted(card.stage_id)}}}}}'
    ).encode()


def _quoted(identity: UUID | None) -> str:
    return "null" if identity is None else f'"{identity}"'


_quoted_daemon = lru_cache(maxsize=1_000)(_quoted)


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
            return cls(**members_of(body, _FIELDS, _CONVERTED))
        except (KeyError, TypeError, AttributeError, ValueError) as error:
            raise ValueError(f"this is not a job event: {error!r}") from error


_FIELDS: Final = frozenset(field.name for field in fields(JobEvent))
_CONVERTED: Final[dict[str, Any]] = {
    "job_id": UUID,
    "daemon_id": UUID,
    "pipeline_id": UUID,
    "stage_id": UUID,
    "status": JobStatus,
    "previous_status": JobStatus,
}
