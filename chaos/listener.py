"""Owns how a subscriber listens: an AMQP client that knows nothing of this package, with a durable queue.

It acknowledges what it has kept, and comes back after each loss of its connection.
"""

import asyncio
import json
import math
from abc import ABC, abstractmethod
from datetime import datetime
from typing import Any

import aiormq
from aiormq.abc import DeliveredMessage

from chaos.patience import AWAY, patiently

PREFETCH = 500
ARGUMENTS: dict[str, Any] = {"x-queue-type": "quorum", "x-single-active-consumer": True}
"""Without the second a broker that was killed hands out newer messages before what the consumer of before held."""
_AGAIN = 0.2
_CONNECTED_WITHIN = 10.0


class Listener(ABC):
    """`run` as a task, until it is cancelled."""

    def __init__(self, *, url: str, exchange: str, queue: str) -> None:
        self._url = url
        self._exchange = exchange
        self._queue = queue
        self._ready = asyncio.Event()

    async def ready(self) -> None:
        """Returns when the queue is bound."""
        await self._ready.wait()

    async def run(self) -> None:
        """Consume for ever."""
        while True:
            try:
                await patiently(self._consume(), math.inf)
            except AWAY:
                await asyncio.sleep(_AGAIN)

    @abstractmethod
    def keep(self, data: dict[str, Any], time_told: datetime, *, delivered_again: bool = False) -> None:
        """One arrival."""

    async def _consume(self) -> None:
        connection = await patiently(aiormq.connect(self._url), _CONNECTED_WITHIN)
        try:
            channel = await connection.channel()
            await channel.basic_qos(prefetch_count=PREFETCH)
            await channel.exchange_declare(self._exchange, exchange_type="topic", durable=True)
            await channel.queue_declare(self._queue, durable=True, arguments=ARGUMENTS)
            await channel.queue_bind(self._queue, self._exchange, "#")
            await channel.basic_consume(self._queue, self._take)
            self._ready.set()
            await connection.closing
        finally:
            await connection.close()

    async def _take(self, message: DeliveredMessage) -> None:
        event = json.loads(message.body)
        again = bool(getattr(message.delivery, "redelivered", False))
        self.keep(event["data"], datetime.fromisoformat(event["time"]), delivered_again=again)
        assert message.delivery_tag is not None
        await message.channel.basic_ack(message.delivery_tag, wait=False)
