"""Owns how services reach the servers: a question is asked, and a message sent, until there is an answer."""

import asyncio
import json

import aiormq
import asyncpg
from pamqp.commands import Basic

from chaos.patience import AWAY, patiently

_AGAIN = 0.1
_PATIENCE = 10.0


class Servers:
    """`ask` PostgreSQL, `send` to RabbitMQ; what they lose is said again, and counted."""

    def __init__(self, *, database_url: str, amqp_url: str, prefix: str) -> None:
        self.lost_answers = 0
        self._database_url = database_url
        self._amqp_url = amqp_url
        self._prefix = prefix
        self._sessions: asyncpg.Pool | None = None
        self._channel: aiormq.abc.AbstractChannel | None = None
        self._connecting = asyncio.Lock()

    async def ask(self, query: str, *arguments: object) -> list[asyncpg.Record]:
        """The rows."""
        while True:
            try:
                if self._sessions is None:
                    self._sessions = asyncpg.create_pool(
                        self._database_url,
                        min_size=0,
                        max_size=8,
                        server_settings={"application_name": "chaos client"},
                    )
                sessions = await self._sessions
                return list(await sessions.fetch(query, *arguments, timeout=20))
            except AWAY:
                self.lost_answers += 1
                await asyncio.sleep(_AGAIN)

    async def send(self, exchange: str, key: str, body: object, *, message_id: str | None = None) -> None:
        """Returns when the broker has confirmed that the message is in a queue."""
        properties = Basic.Properties(delivery_mode=2, content_type="application/json", message_id=message_id)
        name = f"{self._prefix}.{exchange}"
        while True:
            channel = None
            try:
                channel = await self._open()
                sending = channel.basic_publish(
                    json.dumps(body).encode(), exchange=name, routing_key=key, properties=properties
                )
                if isinstance(await patiently(sending, _PATIENCE), Basic.Ack):
                    return
            except AWAY:
                if self._channel is channel:  # others may have a new one already
                    self._channel = None
            self.lost_answers += 1
            await asyncio.sleep(_AGAIN)

    async def close(self) -> None:
        """Leave both."""
        if self._sessions is not None:
            self._sessions.terminate()
        if self._channel is not None:
            await asyncio.wait([asyncio.ensure_future(self._channel.connection.close())], timeout=_PATIENCE)

    async def _open(self) -> aiormq.abc.AbstractChannel:
        async with self._connecting:
            if self._channel is None or self._channel.is_closed or self._channel.connection.is_closed:
                connection = await patiently(aiormq.connect(self._amqp_url), _PATIENCE)
                self._channel = await patiently(connection.channel(publisher_confirms=True), _PATIENCE)
            return self._channel
