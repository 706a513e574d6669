"""A client of AMQP that costs little itself, so that what is measured is the service: one connection, one channel.

Its messages are those of docs/submission.md, but for the confirms: the answer to each is awaited, and says more.
What several callers send in one turn of the loop goes in one write, and answers come as direct replies.
"""

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator
from uuid import uuid4

from aiormq.abc import AbstractChannel, ChannelFrame, DeliveredMessage

from benchmarks.speed.installation import PREFIX
from jobservice.broker.connection import BrokerLink
from jobservice.broker.deliveries import Delivery
from jobservice.broker.frames import FrameEncoder, OutgoingMessage
from jobservice.broker.names import BrokerNames

_REPLIES = "amq.rabbitmq.reply-to"
_FRAME_MAX = 131_072


class LightClient:
    """Submits single jobs of one tenant."""

    def __init__(self, channel: AbstractChannel) -> None:
        self._channel = channel
        self._name = uuid4().hex
        self._number = 0
        self._unsent: list[OutgoingMessage] = []
        self._waiting: dict[str | None, asyncio.Future[bytes]] = {}
        self._encoder = FrameEncoder(
            channel=channel.number,
            frame_max=_FRAME_MAX,
            exchange=BrokerNames(PREFIX).submit,
            mandatory=True,
            persistent=True,
        )

    async def submit(self, tenant: str, body: bytes) -> None:
        """Returns when the job is committed. Raises RuntimeError where it is refused."""
        self._number += 1
        message_id = f"{self._name}-{self._number}"
        answer = self._waiting[message_id] = asyncio.get_running_loop().create_future()
        if not self._unsent:
            asyncio.get_running_loop().call_soon(self._send)
        self._unsent.append(OutgoingMessage(tenant, message_id, body, correlation_id=message_id, reply_to=_REPLIES))
        told = json.loads(await answer)
        if "job_ids" not in told:
            raise RuntimeError(f"refused: {told}")

    def _send(self) -> None:
        messages, self._unsent = self._unsent, []
        self._channel.connection.write_queue.put_nowait(
            ChannelFrame(payload=self._encoder.encode(messages), should_close=False)
        )

    def take(self, delivery: Delivery) -> None:
        """An answer."""
        self._waiting.pop(delivery.properties.correlation_id).set_result(delivery.body)


@contextlib.asynccontextmanager
async def light_client(amqp_url: str) -> AsyncIterator[LightClient]:
    """Connected, and gone with the block."""
    async with BrokerLink(url=amqp_url, name="benchmark") as link:
        await link.wait_connected(10)
        channel = await link.open_channel()
        client = LightClient(channel)
        link.divert(channel, client.take)
        await channel.basic_consume(_REPLIES, _diverted, no_ack=True)
        yield client


async def _diverted(_: DeliveredMessage) -> None:
    """What the driver would call."""
