"""A message taken from a queue, and what its handler decided: nothing is sent to the broker here."""

from dataclasses import dataclass, field
from typing import Any

from aiormq import spec

from jobservice.broker.deliveries import Delivery
from jobservice.broker.frames import JSON
from jobservice.domain.errors import ErrorCode


@dataclass(frozen=True, slots=True)
class Rejection:
    """Why a message goes to the rejected queue."""

    code: ErrorCode
    reason: str


@dataclass(slots=True)
class Incoming:
    """One message. `ack` or `reject`, once; `reply` besides, as wished. The consumer carries it out afterwards."""

    body: bytes
    routing_key: str
    delivery_tag: int
    redelivered: bool
    properties: spec.Basic.Properties
    acknowledged: bool = False
    rejection: Rejection | None = None
    reply_body: bytes | None = None
    reply_type: str = field(default=JSON)

    @classmethod
    def of(cls, delivery: Delivery) -> "Incoming":
        """A delivery, undecided."""
        delivery_tag, redelivered, routing_key, properties, body = delivery
        return cls(body, routing_key, delivery_tag, redelivered, properties)

    @property
    def message_id(self) -> str | None:
        """As its sender named it; None where he did not."""
        return self.properties.message_id or None

    @property
    def correlation_id(self) -> str | None:
        """Comes back with the reply."""
        return self.properties.correlation_id or None

    @property
    def reply_to(self) -> str | None:
        """The queue that awaits the reply; None where none does."""
        return self.properties.reply_to or None

    @property
    def headers(self) -> dict[str, Any]:
        """The sender's headers."""
        return dict(self.properties.headers or {})

    @property
    def decided(self) -> bool:
        """Whether its handler is done with it."""
        return self.acknowledged or self.rejection is not None

    def ack(self) -> None:
        """Done: what it asked for is committed."""
        self.acknowledged = True

    def reject(self, code: ErrorCode, reason: str) -> None:
        """It cannot be accepted: keep it in the rejected queue with `code` and `reason`."""
        self.rejection = Rejection(code=code, reason=reason)

    def reply(self, body: bytes, content_type: str = JSON) -> None:
        """Answer its sender, before it is acknowledged; without `reply_to` nobody wants an answer."""
        self.reply_body = body
        self.reply_type = content_type
