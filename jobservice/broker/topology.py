"""Exchanges and queues as the contract fixes them. The daemon declares what is shared, a subscriber its own queue.

Declaring is idempotent; a queue that exists with other arguments is an error of the installation, never repaired here.
"""

from collections.abc import Collection, Iterable, Mapping
from enum import StrEnum
from typing import Any, Final

from aiormq.abc import AbstractChannel

from jobservice.broker.names import BrokerNames
from jobservice.domain.errors import InvalidSubmission
from jobservice.domain.names import is_name

DELIVERY_LIMIT: Final = 20
"""Said explicitly because 3.10 has no limit of its own and 4.x has one: the same on both."""
SUBSCRIPTION_MAX_LENGTH: Final = 1_000_000


def queue_arguments(names: BrokerNames) -> dict[str, Any]:
    """Arguments of every shared queue but the rejected one."""
    return {
        "x-queue-type": "quorum",
        "x-delivery-limit": DELIVERY_LIMIT,
        "x-dead-letter-exchange": "",
        "x-dead-letter-routing-key": names.rejected,
    }


async def declare(channel: AbstractChannel, names: BrokerNames) -> None:
    """Declare what all clients share: four exchanges, three queues, their bindings."""
    for exchange in (names.events, names.pipelines, names.submit, names.command):
        await channel.exchange_declare(exchange, exchange_type="topic", durable=True)
    # First the queue that the others point to as their dead-letter target.
    await channel.queue_declare(names.rejected, durable=True, arguments={"x-queue-type": "quorum"})
    for exchange, queue in ((names.submit, names.submissions), (names.command, names.control)):
        await channel.queue_declare(queue, durable=True, arguments=queue_arguments(names))
        await channel.queue_bind(queue, exchange, routing_key="#")


async def declare_subscription(
    channel: AbstractChannel,
    names: BrokerNames,
    name: str,
    bindings: Iterable[str],
    *,
    exchange: str | None = None,
    expires: float | None = None,
    single_active: bool = False,
) -> str:
    """Declare and bind the durable subscription `name` to the jobs' events, or to another exchange; gives its queue.

    `expires`: seconds unused until it is gone. `single_active`: one consumer at a time is served, and the next one only
    when what the one before held is back in its place; without, what a lost consumer held comes behind newer messages.
    """
    queue = names.subscription(name, exchange=exchange)
    arguments = queue_arguments(names) | {"x-max-length": SUBSCRIPTION_MAX_LENGTH, "x-overflow": "drop-head"}
    if expires is not None:
        arguments["x-expires"] = round(expires * 1000)
    if single_active:
        arguments["x-single-active-consumer"] = True
    await channel.queue_declare(queue, durable=True, arguments=arguments)
    for key in bindings:
        await channel.queue_bind(queue, exchange or names.events, routing_key=key)
    return queue


async def declare_private(channel: AbstractChannel, *, exchange: str = "", bindings: Iterable[str] = ()) -> str:
    """Declare a queue for this connection alone, named by the server and gone with it; gives its name."""
    declared = await channel.queue_declare("", exclusive=True)
    queue = str(declared.queue)
    for key in bindings:
        await channel.queue_bind(queue, exchange, routing_key=key)
    return queue


def patterns(words: Mapping[str, str | None], statuses: Collection[StrEnum]) -> list[str]:
    """The topic patterns that together match a filter: one per status, or one; `#` when nothing is asked for.

    `words`: what is asked for in each word of the routing key but the last, the status. Raises InvalidSubmission.
    """
    for field, word in words.items():
        if word is not None and not is_name(word):
            raise InvalidSubmission(f"{field} {word!r} is not a name", field=field)
    if not statuses:
        return ["#"] if not any(words.values()) else [_pattern(*words.values(), None)]
    return [_pattern(*words.values(), status.value) for status in sorted(set(statuses))]


def _pattern(*words: str | None) -> str:
    return ".".join(word or "*" for word in words)
