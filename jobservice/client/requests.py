"""Questions by message: publish with a place to answer to, and give the answer. Knows no job.

The answers come to a private queue of this client; each is found by its correlation id. A message that was confirmed
is kept by the broker: without an answer in time it will still be done.
"""

import asyncio
from typing import Any
from uuid import uuid4

import orjson

from jobservice.broker.driver import call
from jobservice.broker.frames import OutgoingMessage
from jobservice.broker.intake import Intake
from jobservice.broker.publisher import Publisher
from jobservice.broker.topology import declare_private
from jobservice.client.broker import ClientBroker
from jobservice.client.outgoing import Outgoing
from jobservice.domain.errors import BrokerUnavailable, UnavailableError

_CALL_TIMEOUT = 10.0
ANSWER_TIMEOUT = 30.0


class Requests:
    """Publishes to the exchanges of submissions and commands, and awaits the replies."""

    def __init__(self, *, broker: ClientBroker) -> None:
        self._broker = broker
        self._outgoing: dict[str, Outgoing] = {}
        self._waiting: dict[str, asyncio.Future[dict[str, Any]]] = {}
        self._opening = asyncio.Lock()
        self._queue = ""
        self._intake: Intake | None = None
        self._reader: asyncio.Task[None] | None = None

    async def ask(self, exchange: str, routing_key: str, body: bytes) -> dict[str, Any]:
        """The reply to one message. Raises BrokerUnavailable before it is safe, UnavailableError without an answer."""
        queue = await self._reply_queue()
        outgoing = await self._to(exchange)
        correlation_id = str(uuid4())
        answer: asyncio.Future[dict[str, Any]] = asyncio.get_running_loop().create_future()
        self._waiting[correlation_id] = answer
        try:
            message = OutgoingMessage(routing_key, str(uuid4()), body, correlation_id=correlation_id, reply_to=queue)
            await outgoing.publish(message)
            async with asyncio.timeout(ANSWER_TIMEOUT):
                return await answer
        except TimeoutError:
            raise UnavailableError(
                f"no daemon answered within {ANSWER_TIMEOUT:.0f} s; the message is kept for the next one"
            ) from None
        finally:
            del self._waiting[correlation_id]

    async def send(self, exchange: str, routing_key: str, body: bytes) -> None:
        """Publish what needs no answer; returns when the broker has it. Raises BrokerUnavailable."""
        outgoing = await self._to(exchange)
        await outgoing.publish(OutgoingMessage(routing_key, str(uuid4()), body))

    async def close(self) -> None:
        """Stop reading replies."""
        reader, self._reader = self._reader, None
        if reader is not None:
            reader.cancel()
            await asyncio.gather(reader, return_exceptions=True)

    async def _to(self, exchange: str) -> Outgoing:
        link = await self._broker.publishing()
        if exchange not in self._outgoing:
            # Mandatory: where no daemon has ever declared its queues, a message would vanish with a confirm.
            publisher = Publisher(link=link, exchange=exchange, mandatory=True)
            self._outgoing[exchange] = Outgoing(publisher=publisher)
        return self._outgoing[exchange]

    async def _reply_queue(self) -> str:
        async with self._opening:
            if self._intake is None or not self._intake.open:
                await self.close()
                link = await self._broker.consuming()
                channel = await link.open_channel(timeout=_CALL_TIMEOUT)
                declaring = declare_private(channel)
                self._queue = await call(declaring, timeout=_CALL_TIMEOUT, doing="declaring a queue for replies")
                changed = asyncio.Event()
                self._intake = Intake(link=link, channel=channel, queue=self._queue, changed=changed)
                # There are no more replies than questions, and with this channel its queue is gone.
                await self._intake.consume(acknowledged=False)
                self._reader = asyncio.create_task(self._read(self._intake, changed), name="client-replies")
            return self._queue

    async def _read(self, intake: Intake, changed: asyncio.Event) -> None:
        while intake.open:
            group = intake.take(100)
            for message in group:
                answer = self._waiting.get(message.correlation_id or "")
                if answer is not None and not answer.done():
                    answer.set_result(orjson.loads(message.body))
            changed.clear()
            if not intake.wants_attention(paused=False):
                await changed.wait()
        for answer in self._waiting.values():
            if not answer.done():
                answer.set_exception(
                    BrokerUnavailable("the connection was lost before the answer came; the message may have been done")
                )
