"""How much waits in a queue, asked without changing anything."""

from aiormq.abc import AbstractChannel
from aiormq.exceptions import ChannelNotFoundEntity

from jobservice.broker.driver import call

_CALL_TIMEOUT = 10.0


async def queue_size(channel: AbstractChannel, queue: str) -> tuple[int | None, int | None]:
    """Messages that wait and consumers; None twice where there is no such queue (the channel is closed then)."""

    async def ask() -> tuple[int | None, int | None]:
        try:
            declared = await channel.queue_declare(queue, passive=True)
        except ChannelNotFoundEntity:
            return None, None
        return declared.message_count, declared.consumer_count

    return await call(ask(), timeout=_CALL_TIMEOUT, doing=f"looking at {queue}")
