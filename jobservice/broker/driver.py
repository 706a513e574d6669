"""The edge to aiormq: one call with a deadline, its errors translated. No other module catches the driver's errors.

aiormq ends calls that were under way on a connection that closes with `asyncio.CancelledError` of its own. Here it
becomes `BrokerUnavailable`, so that only a real cancellation of the caller looks like one.
"""

import asyncio
from collections.abc import Coroutine
from typing import Any, TypeVar

from aiormq import exceptions

from jobservice.domain.errors import BrokerUnavailable, ConfigurationError, JobServiceError

T = TypeVar("T")

# RuntimeError is what a closed aiormq connection or channel raises (ChannelInvalidStateError is one);
# StopAsyncIteration comes out of a connect whose connection is closed in the middle of the greeting.
_AWAY = (
    exceptions.AMQPError,
    OSError,
    TimeoutError,
    asyncio.CancelledError,
    EOFError,
    RuntimeError,
    StopAsyncIteration,
)
_MISCONFIGURED = (exceptions.ChannelPreconditionFailed, exceptions.ChannelAccessRefused)


async def call(coroutine: Coroutine[Any, Any, T], *, timeout: float, doing: str) -> T:
    """Await one call of the driver, at most `timeout` seconds; `doing` completes the text of its error.

    Raises BrokerUnavailable, or ConfigurationError where the broker refuses what waiting will not change.
    """
    task = asyncio.ensure_future(coroutine)
    try:
        done, _ = await asyncio.wait({task}, timeout=timeout)
    except asyncio.CancelledError:
        task.cancel()
        raise
    if not done:
        task.cancel()
        raise BrokerUnavailable(f"RabbitMQ gave no answer within {timeout:g} s while {doing}")
    if task.cancelled():
        raise BrokerUnavailable(f"the connection to RabbitMQ was closed while {doing}")
    error = task.exception()
    if error is not None:
        raise translated(error, doing=doing) from error
    return task.result()


def translated(error: BaseException, *, doing: str) -> BaseException:
    """The package's own error for an error of the driver; anything else as it is."""
    if isinstance(error, JobServiceError):
        return error
    if isinstance(error, _MISCONFIGURED):
        return ConfigurationError(f"RabbitMQ refuses {doing}: {reason(error)}")
    if isinstance(error, exceptions.ProbableAuthenticationError):
        return BrokerUnavailable(f"RabbitMQ refused the login while {doing}: check user and password of the AMQP URL")
    # A bare Exception ends what was under way where aiormq does not know why the connection closed.
    if isinstance(error, _AWAY) or (type(error) is Exception and not error.args):
        return BrokerUnavailable(f"RabbitMQ is not reachable while {doing}: {reason(error)}")
    return error


def reason(error: BaseException) -> str:
    """What the driver says, in one line."""
    text = " ".join(str(part) for part in error.args if part is not None) or type(error).__name__
    return " ".join(text.split())
