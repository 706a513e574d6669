"""Durable subscriptions as an operator sees them: what is declared, what waits, who reads."""

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from jobservice.broker.driver import call
from jobservice.broker.queue_size import queue_size
from jobservice.client.broker import ClientBroker
from jobservice.client.database import ClientDatabase
from jobservice.domain.errors import ConfigurationError
from jobservice.store.overview import Overview, SubscriptionRow

_CALL_TIMEOUT = 10.0


@dataclass(frozen=True, slots=True, kw_only=True)
class DurableSubscription:
    """One durable subscription; `messages` and `consumers` are None where the broker was not asked, or has no queue."""

    name: str
    queue: str
    filter: dict[str, Any]
    created_date: datetime
    messages: int | None
    consumers: int | None


class Subscriptions:
    """Durable subscriptions: the notes in the database, and the queues in the broker where there is one."""

    def __init__(self, *, database: ClientDatabase, broker: ClientBroker | None, schema: str) -> None:
        self._database = database
        self._broker = broker
        self._overview = Overview(schema)

    async def remember(self, name: str, wanted: dict[str, Any]) -> None:
        """Note a durable subscription, so that operators find it."""
        async with self._database.use() as connection:
            await self._overview.remember_subscription(connection, name, wanted)

    async def all(self) -> list[DurableSubscription]:
        """All that are noted, by name."""
        async with self._database.use() as connection:
            rows = await self._overview.subscriptions(connection)
        return [await self._seen(row) for row in rows]

    async def delete(self, name: str) -> int:
        """Delete the queue, if there is one, and the note; gives how many events were dropped."""
        if self._broker is None:
            raise ConfigurationError("deleting a subscription needs the broker: an amqp_url")
        channel = await (await self._broker.consuming()).open_channel()
        try:
            deleting = channel.queue_delete(self._broker.names.noted_subscription(name))
            answer = await call(deleting, timeout=_CALL_TIMEOUT, doing="deleting a queue")
        finally:
            await channel.close()
        async with self._database.use() as connection:
            await self._overview.forget_subscription(connection, name)
        return int(answer.message_count or 0)

    async def _seen(self, row: SubscriptionRow) -> DurableSubscription:
        queue, messages, consumers = row.name, None, None
        if self._broker is not None:
            queue = self._broker.names.noted_subscription(row.name)
            messages, consumers = await self._counted(self._broker, queue)
        return DurableSubscription(
            name=row.name,
            queue=queue,
            filter=row.filter,
            created_date=row.created_date,
            messages=messages,
            consumers=consumers,
        )

    async def _counted(self, broker: ClientBroker, queue: str) -> tuple[int | None, int | None]:
        channel = await (await broker.consuming()).open_channel()
        try:
            return await queue_size(channel, queue)
        finally:
            if not channel.is_closed:
                await channel.close()
