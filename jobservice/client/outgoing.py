"""Single messages of many callers, published together: who comes while a batch is on its way shares the next one.

The broker's confirm into a quorum queue takes milliseconds, whether it is for one message or for a hundred. One by one,
ten callers of a client would wait for each other's.
"""

import asyncio

from jobservice.broker.frames import OutgoingMessage
from jobservice.broker.publisher import Publisher, PublishFailed

BATCH = 500
"""Most messages in one batch."""


class Outgoing:
    """The messages of one client to one exchange."""

    def __init__(self, *, publisher: Publisher) -> None:
        self._publisher = publisher
        self._waiting: list[tuple[OutgoingMessage, asyncio.Future[None]]] = []
        self._sending: asyncio.Task[None] | None = None

    async def publish(self, message: OutgoingMessage) -> None:
        """Returns when the broker has it. Raises PublishFailed: it may have arrived or not."""
        confirmed = asyncio.get_running_loop().create_future()
        self._waiting.append((message, confirmed))
        if self._sending is None or self._sending.done():
            self._sending = asyncio.create_task(self._send(), name="client-publish")
        await confirmed

    async def _send(self) -> None:
        while self._waiting:
            batch, self._waiting = self._waiting[:BATCH], self._waiting[BATCH:]
            failure: BaseException | None = None
            safe = len(batch)
            try:
                await self._publisher.publish([message for message, _ in batch])
            except PublishFailed as failed:
                failure, safe = failed, failed.first_unconfirmed
            except BaseException as error:  # noqa: BLE001 - each caller gets it
                failure, safe = error, 0
            for index, (_, confirmed) in enumerate(batch):
                if confirmed.done():
                    continue
                if index < safe or failure is None:
                    confirmed.set_result(None)
                else:
                    confirmed.set_exception(failure)
