"""Messages that could not be accepted: read, sent again, dropped.

Looking at a queue means taking its messages. Giving them back would count as a failed delivery, and a quorum queue
drops what failed too often: so what is kept is published anew behind the rest, and only then taken away. A crash in
between leaves a message twice, never none.
"""

import hashlib
import json
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from typing import Any

from aiormq import spec
from aiormq.abc import AbstractChannel, DeliveredMessage

from jobservice.broker.driver import call
from jobservice.broker.frames import OutgoingMessage
from jobservice.broker.publisher import Publisher
from jobservice.client.acknowledging import acknowledge
from jobservice.client.broker import ClientBroker
from jobservice.domain.names import DEFAULT_TENANT, is_name

_CALL_TIMEOUT = 10.0
_OURS = "jobservice-"
_ROUTING_KEY = "jobservice-routing-key"
_BROKERS = ("x-death", "x-first-death-", "x-last-death-", "x-delivery-count", "x-acquired-count")
"""Headers that the broker writes: they tell of the journey, not of the message."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RejectedMessage:
    """One refused message. `id` is made from its content: it stays the same from one look to the next."""

    id: str
    code: str | None
    reason: str | None
    source: str | None
    routing_key: str
    message_id: str | None
    correlation_id: str | None
    headers: dict[str, Any]
    bytes: int
    body: str


class Rejected:
    """The rejected queue of one installation."""

    def __init__(self, *, broker: ClientBroker) -> None:
        self._broker = broker

    async def all(self) -> list[RejectedMessage]:
        """What is there now, the oldest first."""
        seen: list[RejectedMessage] = []
        await self._turn_over(seen=seen, taken=set(), every=False, requeue=False)
        return seen

    async def requeue(self, ids: AbstractSet[str] | None) -> list[str]:
        """Send these (None: all) to the queues that they came from. Gives the ids that were found."""
        return await self._turn_over(seen=[], taken=ids or set(), every=ids is None, requeue=True)

    async def drop(self, ids: AbstractSet[str] | None) -> list[str]:
        """Throw these (None: all) away. Gives the ids that were found."""
        return await self._turn_over(seen=[], taken=ids or set(), every=ids is None, requeue=False)

    async def count(self) -> int:
        """How many there are."""
        channel = await (await self._broker.consuming()).open_channel()
        try:
            return await self._size(channel)
        finally:
            if not channel.is_closed:
                await channel.close()

    async def _turn_over(
        self, *, seen: list[RejectedMessage], taken: AbstractSet[str], every: bool, requeue: bool
    ) -> list[str]:
        """Take each message that is there now; publish what is kept behind the rest, or to where it is sent again."""
        queue = self._broker.names.rejected
        publishers = await self._publishers()
        channel = await (await self._broker.consuming()).open_channel()
        found: list[str] = []
        try:
            for _ in range(await self._size(channel)):
                got = await call(channel.basic_get(queue), timeout=_CALL_TIMEOUT, doing=f"reading {queue}")
                if isinstance(got.delivery, spec.Basic.GetEmpty):
                    break
                message = _message_of(got)
                seen.append(message)
                chosen = every or message.id in taken
                if chosen:
                    found.append(message.id)
                if chosen and requeue:
                    exchange, key = self._origin(message, got)
                    await publishers[exchange].publish([_sent_again(got, message, key)])
                elif not chosen:
                    await publishers[""].publish([_kept(got, message, queue)])
                await acknowledge(channel, got.delivery_tag or 0)
        finally:
            if not channel.is_closed:
                await channel.close()
        return found

    async def _publishers(self) -> dict[str, Publisher]:
        link = await self._broker.publishing()
        names = self._broker.names
        # The default exchange ("") leads to the queue that the routing key names.
        return {name: Publisher(link=link, exchange=name, mandatory=True) for name in ("", names.submit, names.command)}

    def _origin(self, message: RejectedMessage, got: DeliveredMessage) -> tuple[str, str]:
        """The exchange and the routing key with which a message came: the key is its tenant, and is checked again."""
        names = self._broker.names
        exchange = {names.submissions: names.submit, names.control: names.command}.get(message.source or "")
        key = (got.header.properties.headers or {}).get(_ROUTING_KEY)
        if exchange is None:
            return "", message.source or names.rejected
        if key is None and exchange == names.submit:
            key = _tenant_in(got.body)
        # Without a key nobody knows whose command it was: it goes straight to its queue, which may refuse it again.
        return (exchange, str(key)) if key is not None else ("", message.source or names.rejected)

    async def _size(self, channel: AbstractChannel) -> int:
        declaring = channel.queue_declare(self._broker.names.rejected, passive=True)
        declared = await call(declaring, timeout=_CALL_TIMEOUT, doing=f"looking at {self._broker.names.rejected}")
        return int(declared.message_count or 0)


def _kept(got: DeliveredMessage, message: RejectedMessage, queue: str) -> OutgoingMessage:
    properties = got.header.properties
    properties.delivery_mode = 2
    return OutgoingMessage(queue, message.message_id or "", got.body, properties=properties)


def _sent_again(got: DeliveredMessage, message: RejectedMessage, key: str) -> OutgoingMessage:
    properties = got.header.properties
    properties.delivery_mode = 2
    properties.headers = message.headers or None
    return OutgoingMessage(key, message.message_id or "", got.body, properties=properties)


def _tenant_in(body: bytes) -> str:
    """The tenant that a submission names; what cannot be read will be refused again whatever the key."""
    try:
        document = json.loads(body)
    except (ValueError, RecursionError):
        return DEFAULT_TENANT
    first = document[0] if isinstance(document, list) and document else document
    tenant = first.get("tenant") if isinstance(first, dict) else None
    return tenant if isinstance(tenant, str) and is_name(tenant) else DEFAULT_TENANT


def _text(headers: dict[str, Any], name: str) -> str | None:
    value = headers.get(f"{_OURS}{name}")
    return str(value) if value is not None else None


def _message_of(got: DeliveredMessage) -> RejectedMessage:
    properties = got.header.properties
    headers = dict(properties.headers or {})
    digest = hashlib.sha256()
    for part in (got.routing_key or "", properties.message_id or "", str(headers.get("jobservice-source", ""))):
        digest.update(part.encode() + b"\0")
    digest.update(got.body)
    return RejectedMessage(
        id=digest.hexdigest()[:12],
        code=_text(headers, "error"),
        reason=_text(headers, "reason"),
        source=_text(headers, "source"),
        routing_key=str(headers.get(_ROUTING_KEY) or got.routing_key or ""),
        message_id=properties.message_id,
        correlation_id=properties.correlation_id,
        headers={name: value for name, value in headers.items() if not name.startswith((_OURS, *_BROKERS))},
        bytes=len(got.body),
        body=got.body.decode("utf-8", "backslashreplace"),
    )
