"""The command that sets limits, weights, rates, what a queue publishes, and its aging."""

from typing import Annotated, Final, Literal

from pydantic import Field, model_validator

from jobservice.control.members import Command, Name, absent, forbidden, given, written, wrong
from jobservice.domain.facts import EventMode
from jobservice.domain.rates import PATTERN as RATE_PATTERN
from jobservice.domain.rates import Rate
from jobservice.domain.rates import parse as parse_rate

_LIMITS: Final = ("max_running", "weight", "rate", "events", "aging")


class SetLimit(Command):
    """Set what limits a queue, a tenant, a tenant on a queue, or a concurrency key.

    What is absent stays; null takes it away.
    """

    model_config = written(
        {"anyOf": [given("queue"), given("tenant")]},
        {"anyOf": [{"required": [name]} for name in _LIMITS]},
        {"if": {"required": ["weight"]}, "then": given("tenant")},
        {"if": {"allOf": [given("queue"), given("tenant")]}, "then": forbidden("rate")},
        {"if": {"required": ["events"]}, "then": {"allOf": [given("queue"), absent("tenant")]}},
        {"if": {"required": ["aging"]}, "then": {"allOf": [given("queue"), absent("tenant")]}},
        {"if": {"required": ["burst"]}, "then": given("rate")},
        {
            "if": given("concurrency_key"),
            "then": {"allOf": [given("tenant"), absent("queue"), forbidden("weight", "rate", "events", "aging")]},
        },
    )

    command: Literal["set_limit"]
    queue: Name | None = None
    concurrency_key: Annotated[str, Field(min_length=1, max_length=255)] | None = None
    """Of the tenant; null as its `max_running` makes it 1 again."""
    max_running: Annotated[int, Field(ge=0, lt=2**31)] | None = None
    weight: Annotated[float, Field(gt=0, le=1e6, allow_inf_nan=False)] | None = None
    rate: Annotated[str, Field(pattern=RATE_PATTERN)] | None = None
    burst: Annotated[int, Field(ge=1, lt=2**31)] | None = None
    events: EventMode | None = None
    aging: Annotated[float, Field(ge=1, le=1e9, allow_inf_nan=False)] | None = None
    """Seconds in which waiting raises a job of the queue to the next more urgent priority that waits there."""

    @property
    def starts(self) -> Rate | None:
        """The rate with its burst; None where none is given."""
        return None if self.rate is None else parse_rate(self.rate, self.burst)

    @model_validator(mode="after")
    def _of_something(self) -> "SetLimit":
        there = self.model_fields_set
        if self.queue is None and self.tenant is None:
            raise wrong("queue", "queue, tenant or both are required")
        if not there & set(_LIMITS):
            raise wrong("max_running", f"one of {', '.join(_LIMITS)} is required")
        if self.tenant is None and "weight" in there:
            raise wrong("weight", "a queue has no weight: name the tenant too")
        if self.concurrency_key is not None and (self.tenant is None or self.queue is not None):
            raise wrong("concurrency_key", "a key is a tenant's, on all queues together: name the tenant and no queue")
        if self.concurrency_key is not None and there & {"weight", "rate", "events", "aging"}:
            raise wrong("concurrency_key", "a key has max_running only")
        if "rate" in there and self.queue is not None and self.tenant is not None:
            raise wrong("rate", "a rate is of a queue or of a tenant, not of both")
        if "events" in there and (self.queue is None or self.tenant is not None):
            raise wrong("events", "a queue publishes: name the queue and no tenant")
        if "aging" in there and (self.queue is None or self.tenant is not None):
            raise wrong("aging", "jobs age in a queue: name the queue and no tenant")
        return self

    @model_validator(mode="after")
    def _rated(self) -> "SetLimit":
        if "burst" in self.model_fields_set and self.rate is None:
            raise wrong("burst", "a burst goes with a rate: give both")
        return self
