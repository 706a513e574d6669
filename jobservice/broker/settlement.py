"""Carrying out what a handler decided: replies first, refused messages kept, and only then acknowledgements."""

import asyncio
import copy
from collections.abc import Sequence
from typing import Final
from uuid import uuid4

import structlog
from aiormq import spec
from aiormq.abc import AbstractChannel, ChannelFrame

from jobservice.broker.connection import BrokerLink
from jobservice.broker.driver import call
from jobservice.broker.frames import OutgoingMessage, ack_frames
from jobservice.broker.incoming import Incoming
from jobservice.broker.names import BrokerNames
from jobservice.broker.publisher import Publisher, PublishFailed
from jobservice.domain.errors import BrokerUnavailable

log = structlog.get_logger(__name__)

REASON_MAX: Final = 1_000
_REPLY_DEADLINE: Final = 5.0
_ACK_TIMEOUT: Final = 10.0
_ROUTING_HEADERS: Final = ("CC", "BCC")
_DELIVERY_COUNT: Final = "x-delivery-count"
"""Put into the headers by the broker, not by the sender."""


class Settlement:
    """Publishes on `link` (never the consuming connection: a blocked publisher's stops acknowledgements too)."""

    def __init__(self, *, link: BrokerLink, names: BrokerNames) -> None:
        self._names = names
        self._replies = Publisher(link=link, exchange="", mandatory=True, persistent=False, deadline=_REPLY_DEADLINE)
        self._rejects = Publisher(link=link, exchange="", mandatory=True)

    async def settle(self, messages: Sequence[Incoming], channel: AbstractChannel, *, queue: str) -> None:
        """Settle the decided ones of `messages`. Raises BrokerUnavailable; nothing unsafe is acknowledged then."""
        decided = [message for message in messages if message.decided]
        await self._keep_rejected([message for message in decided if message.rejection is not None], queue)
        await self._reply([message for message in decided if message.reply_body is not None and message.reply_to])
        if len(decided) == len(messages):
            await self._ack(channel, messages[-1:], multiple=True)
        else:
            await self._ack(channel, decided, multiple=False)

    async def _keep_rejected(self, messages: Sequence[Incoming], queue: str) -> None:
        for message in messages:
            if message.rejection is not None:
                log.warning(
                    "message.reject",
                    queue=queue,
                    message_id=message.message_id,
                    code=message.rejection.code,
                    reason=message.rejection.reason[:REASON_MAX],
                )
        if messages:
            await self._rejects.publish([rejected_message(message, self._names, queue) for message in messages])

    async def _reply(self, messages: Sequence[Incoming]) -> None:
        if not messages:
            return
        try:
            await self._replies.publish([_reply_message(message) for message in messages])
        except PublishFailed as failure:
            lost = [messages[index] for index in failure.returned] or messages[failure.first_unconfirmed :]
            for message in lost:
                log.warning("reply.drop", message_id=message.message_id, reply_to=message.reply_to, reason=str(failure))

    async def _ack(self, channel: AbstractChannel, messages: Sequence[Incoming], *, multiple: bool) -> None:
        if not messages:
            return
        if channel.is_closed:
            raise BrokerUnavailable("the channel was closed before its messages were acknowledged")
        tags = [message.delivery_tag for message in messages]
        frame = ChannelFrame(payload=ack_frames(channel.number, tags, multiple=multiple), should_close=False)
        try:
            channel.connection.write_queue.put_nowait(frame)
        except asyncio.QueueFull:
            await call(channel.connection.write_queue.put(frame), timeout=_ACK_TIMEOUT, doing="acknowledging")


def _reply_message(message: Incoming) -> OutgoingMessage:
    return OutgoingMessage(
        routing_key=message.reply_to or "",
        message_id=uuid4().hex,
        body=message.reply_body or b"",
        content_type=message.reply_type,
        correlation_id=message.correlation_id,
    )


def rejected_message(message: Incoming, names: BrokerNames, queue: str) -> OutgoingMessage:
    """`message` for the rejected queue: body and properties untouched, with the reason in its headers.

    What would change its way is moved into headers: an expiration would lose it, a foreign user id is refused by the
    broker, CC and BCC would send it out once more.
    """
    properties = copy.copy(message.properties)
    headers = {
        name: value for name, value in message.headers.items() if name not in (*_ROUTING_HEADERS, _DELIVERY_COUNT)
    }
    for name in _ROUTING_HEADERS:
        if name in message.headers:
            headers[f"jobservice-{name.lower()}"] = message.headers[name]
    for name in ("expiration", "user_id"):
        if getattr(properties, name):
            headers[f"jobservice-{name.replace('_', '-')}"] = getattr(properties, name)
            setattr(properties, name, None)
    if message.rejection is not None:
        headers["jobservice-error"] = message.rejection.code
        headers["jobservice-reason"] = message.rejection.reason[:REASON_MAX]
    headers["jobservice-source"] = queue
    headers["jobservice-routing-key"] = message.routing_key
    properties.headers = headers
    properties.delivery_mode = 2
    return OutgoingMessage(names.rejected, message.message_id or "", message.body, properties=_encodable(properties))


def _encodable(properties: spec.Basic.Properties) -> spec.Basic.Properties:
    """With only our own headers where the sender's cannot be encoded again: better kept without them than lost."""
    try:
        properties.marshal()
    except (ValueError, TypeError, OverflowError):
        own = (properties.headers or {}).items()
        properties.headers = {name: value for name, value in own if name.startswith("jobservice-")}
    return properties
