"""A foreign service at the broker: bare AMQP messages by a plain driver. Of JobService it knows the contract only."""

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any
from uuid import uuid4

import aiormq
from aiormq.abc import AbstractChannel, DeliveredMessage


class ForeignService:
    """Publishes with a place to answer to, and listens."""

    def __init__(self, channel: AbstractChannel, replies: str) -> None:
        self._channel = channel
        self._replies = replies
        self._waiting: dict[str, asyncio.Future[dict[str, Any]]] = {}

    @classmethod
    @asynccontextmanager
    async def connected(cls, amqp_url: str) -> AsyncIterator["ForeignService"]:
        """One connection, with a queue for replies that goes with it."""
        connection = await aiormq.connect(amqp_url)
        try:
            channel = await connection.channel(publisher_confirms=True)
            declared = await channel.queue_declare("", exclusive=True)
            service = cls(channel, str(declared.queue))
            await channel.basic_consume(service._replies, service._answered, no_ack=True)
            yield service
        finally:
            await connection.close()

    async def subscribe(self, exchange: str, heard: Callable[[bytes], None]) -> None:
        """Call `heard` with the body of every message of `exchange` from now on, in the order received."""
        declared = await self._channel.queue_declare("", exclusive=True)
        queue = str(declared.queue)
        await self._channel.queue_bind(queue, exchange, routing_key="#")

        async def take(message: DeliveredMessage) -> None:
            heard(message.body)

        await self._channel.basic_consume(queue, take, no_ack=True)

    async def ask(self, exchange: str, routing_key: str, body: bytes) -> dict[str, Any]:
        """Publish a message and give the reply to it."""
        correlation_id = str(uuid4())
        answer: asyncio.Future[dict[str, Any]] = asyncio.get_running_loop().create_future()
        self._waiting[correlation_id] = answer
        await self._channel.basic_publish(
            body,
            exchange=exchange,
            routing_key=routing_key,
            mandatory=True,
            properties=aiormq.spec.Basic.Properties(
                content_type="application/json",
                delivery_mode=2,
                message_id=str(uuid4()),
                correlation_id=correlation_id,
                reply_to=self._replies,
            ),
        )
        return await answer

    async def _answered(self, message: DeliveredMessage) -> None:
        answer = self._waiting.pop(message.header.properties.correlation_id or "", None)
        if answer is not None and not answer.done():
            answer.set_result(json.loads(message.body))
