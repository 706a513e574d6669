"""Which events a subscription is about: where they are told, how they are bound, read, and told from others."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Generic, Protocol, TypeVar

from jobservice.broker.messages import JobEvent
from jobservice.broker.names import PIPELINES_NOTED, BrokerNames
from jobservice.broker.pipeline_messages import PipelineEvent
from jobservice.broker.topology import patterns
from jobservice.domain.errors import InvalidSubmission
from jobservice.domain.pipeline_facts import PIPELINE_KINDS


class StatusChange(Protocol):
    """What all events have."""

    @property
    def status(self) -> StrEnum: ...


Event = TypeVar("Event", bound=StatusChange)


@dataclass(frozen=True, slots=True, kw_only=True)
class Selection(Generic[Event]):
    """Events of one exchange. `words` are what is wanted in each word of the routing key but the last, the status."""

    exchange: str
    read: Callable[[bytes], Event]
    """Raises ValueError for what is no such event."""
    words: Mapping[str, str | None]
    statuses: frozenset[StrEnum]
    noted: str = ""
    """Before a durable name where it is noted for operators."""

    def bindings(self) -> list[str]:
        """The patterns that match. Raises InvalidSubmission for a word that is no name."""
        return patterns(self.words, self.statuses)

    def matches(self, event: Event) -> bool:
        """Whether it is wanted. Bindings of an earlier filter of the same durable name stay in the broker."""
        named = all(value is None or getattr(event, name) == value for name, value in self.words.items())
        return named and (not self.statuses or event.status in self.statuses)

    def filter(self) -> dict[str, Any]:
        """What is asked for, as operators read it."""
        filled: dict[str, Any] = {name: value for name, value in self.words.items() if value is not None}
        return filled | ({"statuses": sorted(self.statuses)} if self.statuses else {})


def job_selection(
    names: BrokerNames,
    *,
    tenant: str | None = None,
    queue: str | None = None,
    job_class: str | None = None,
    statuses: frozenset[StrEnum] = frozenset(),
) -> Selection[JobEvent]:
    """Status changes of jobs."""
    words = {"tenant": tenant, "queue": queue, "job_class": job_class}
    return Selection(exchange=names.events, read=JobEvent.parse, words=words, statuses=statuses)


def pipeline_selection(
    names: BrokerNames,
    *,
    tenant: str | None = None,
    name: str | None = None,
    kind: str | None = None,
    statuses: frozenset[StrEnum] = frozenset(),
) -> Selection[PipelineEvent]:
    """Status changes of pipelines, of their stages, or of both. Raises InvalidSubmission for another `kind`."""
    if kind is not None and kind not in PIPELINE_KINDS:
        raise InvalidSubmission(f"kind is one of {', '.join(PIPELINE_KINDS)}, not {kind!r}", field="kind")
    words = {"tenant": tenant, "name": name, "kind": kind}
    return Selection(
        exchange=names.pipelines, read=PipelineEvent.parse, words=words, statuses=statuses, noted=PIPELINES_NOTED
    )
