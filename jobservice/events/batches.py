"""How much is handed to the broker at once, and who takes it: the same for jobs' facts and for pipelines'."""

from bisect import bisect_right
from collections.abc import Sequence
from itertools import accumulate
from typing import Any, Protocol, TypeVar

from jobservice.broker.frames import OutgoingMessage

FACTS_AT_ONCE = 3_000
"""About what a busy broker confirms in time."""


class EventPublisher(Protocol):
    """Publishes in order and returns when the broker has all; BrokerUnavailable otherwise."""

    async def publish(self, messages: Sequence[OutgoingMessage]) -> None: ...


class Row(Protocol):
    """A row of an outbox."""

    @property
    def facts(self) -> Sequence[Any]: ...


AnyRow = TypeVar("AnyRow", bound=Row)


def at_once(rows: Sequence[AnyRow]) -> Sequence[AnyRow]:
    """From the front, up to FACTS_AT_ONCE facts, and one row at least, where there is one."""
    facts = list(accumulate(len(row.facts) for row in rows))
    return rows[: max(1, bisect_right(facts, FACTS_AT_ONCE))]
