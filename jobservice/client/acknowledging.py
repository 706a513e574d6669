"""Acknowledging on a consuming channel, with a deadline and our errors."""

from typing import Any

from aiormq.abc import AbstractChannel

from jobservice.broker.driver import call

_CALL_TIMEOUT = 10.0


async def acknowledge(channel: AbstractChannel, delivery_tag: int, *, multiple: bool = False) -> None:
    """Tell the broker that this message is done, with `multiple` all before it too. Raises BrokerUnavailable."""
    await call(
        _awaited(channel.basic_ack(delivery_tag, multiple=multiple)),
        timeout=_CALL_TIMEOUT,
        doing="acknowledging a message",
    )


async def _awaited(acknowledgement: Any) -> None:
    # The driver gives an awaitable, which is no coroutine.
    await acknowledgement
