"""Whether an exchange is there, asked without changing anything."""

from aiormq.abc import AbstractChannel
from aiormq.exceptions import ChannelNotFoundEntity

from jobservice.broker.driver import call

_CALL_TIMEOUT = 10.0


async def exchange_exists(channel: AbstractChannel, exchange: str) -> bool:
    """Where there is none, the channel is closed then."""

    async def ask() -> bool:
        try:
            await channel.exchange_declare(exchange, passive=True)
        except ChannelNotFoundEntity:
            return False
        return True

    return await call(ask(), timeout=_CALL_TIMEOUT, doing=f"looking at {exchange}")
