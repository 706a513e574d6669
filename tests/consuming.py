"""A consumer of the submissions queue, a handler that remembers, a foreign sender; a conftest imports the fixtures."""

from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from typing import Any

import pika
import pytest
from pika.adapters.blocking_connection import BlockingChannel

from jobservice.broker.backoff import Backoff
from jobservice.broker.connection import BrokerLink
from jobservice.broker.consumer import GroupConsumer, Handler
from jobservice.broker.incoming import Incoming
from jobservice.broker.names import BrokerNames
from jobservice.broker.settlement import Settlement

Connect = Callable[[str], Awaitable[BrokerLink]]
Eventually = Callable[[Callable[[], object]], Awaitable[None]]
Consume = Callable[..., Awaitable[GroupConsumer]]


class Recorder:
    """A handler that acknowledges and remembers."""

    def __init__(self) -> None:
        self.groups: list[list[bytes]] = []
        self.messages: list[Incoming] = []

    @property
    def bodies(self) -> list[bytes]:
        return [body for group in self.groups for body in group]

    async def __call__(self, messages: Sequence[Incoming]) -> None:
        self.groups.append([message.body for message in messages])
        self.messages.extend(messages)
        for message in messages:
            message.ack()


@pytest.fixture
async def consume(link: BrokerLink, names: BrokerNames) -> AsyncIterator[Consume]:
    """Starts a consumer of the submissions queue; stops it."""
    started: list[GroupConsumer] = []

    async def consume(handler: Handler, on: BrokerLink | None = None, **settings: Any) -> GroupConsumer:
        consumer = GroupConsumer(
            link=on or link,
            queue=names.submissions,
            handler=handler,
            settlement=Settlement(link=link, names=names),
            backoff=Backoff(first=0.02, longest=0.1),
            **settings,
        )
        started.append(consumer)
        await consumer.start()
        return consumer

    yield consume
    for consumer in started:
        await consumer.stop()


@pytest.fixture
def send(link: BrokerLink, names: BrokerNames, foreign: BlockingChannel) -> Callable[..., None]:
    foreign.confirm_delivery()

    def send(*bodies: bytes, **properties: Any) -> None:
        for body in bodies:
            foreign.basic_publish(names.submit, "acme", body, pika.BasicProperties(**properties), mandatory=True)

    return send


def left(foreign: BlockingChannel, queue: str) -> int:
    return int(foreign.queue_declare(queue, passive=True).method.message_count)
