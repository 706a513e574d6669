"""Messages of many callers, published together: each caller learns of his own."""

import asyncio
from collections.abc import Sequence

import pytest

from jobservice.broker.frames import OutgoingMessage
from jobservice.broker.publisher import PublishFailed
from jobservice.client.outgoing import Outgoing


class PublisherStub:
    """Holds each batch until it is let go; then confirms so many of it, or all."""

    def __init__(self) -> None:
        self.batches: list[list[str]] = []
        self.let_go = asyncio.Event()
        self.fails_at: int | None = None

    async def publish(self, messages: Sequence[OutgoingMessage]) -> None:
        self.batches.append([message.message_id for message in messages])
        await self.let_go.wait()
        if self.fails_at is not None:
            raise PublishFailed("no", first_unconfirmed=self.fails_at)


def message(name: str) -> OutgoingMessage:
    return OutgoingMessage("acme", name, b"{}")


@pytest.fixture
def publisher() -> PublisherStub:
    return PublisherStub()


@pytest.fixture
def outgoing(publisher: PublisherStub) -> Outgoing:
    return Outgoing(publisher=publisher)


async def test_who_comes_while_a_batch_is_on_its_way_shares_the_next_one(
    outgoing: Outgoing, publisher: PublisherStub
) -> None:
    first = asyncio.create_task(outgoing.publish(message("1")))
    while not publisher.batches:
        await asyncio.sleep(0)

    others = [asyncio.create_task(outgoing.publish(message(name))) for name in "234"]
    await asyncio.sleep(0)
    publisher.let_go.set()
    await asyncio.gather(first, *others)

    assert publisher.batches == [["1"], ["2", "3", "4"]]


async def test_of_a_batch_that_failed_the_confirmed_are_told_so_and_the_others_not(
    outgoing: Outgoing, publisher: PublisherStub
) -> None:
    publisher.fails_at = 2
    publisher.let_go.set()

    told = await asyncio.gather(*(outgoing.publish(message(name)) for name in "1234"), return_exceptions=True)

    assert [type(each) for each in told] == [type(None), type(None), PublishFailed, PublishFailed]


async def test_a_failure_ends_nothing_for_those_who_come_later(outgoing: Outgoing, publisher: PublisherStub) -> None:
    publisher.fails_at = 0
    publisher.let_go.set()
    with pytest.raises(PublishFailed):
        await outgoing.publish(message("1"))
    publisher.fails_at = None

    await outgoing.publish(message("2"))

    assert publisher.batches == [["1"], ["2"]]


async def test_a_caller_that_was_cancelled_takes_nobody_along(outgoing: Outgoing, publisher: PublisherStub) -> None:
    leaving, staying = (asyncio.create_task(outgoing.publish(message(name))) for name in "12")
    while not publisher.batches:
        await asyncio.sleep(0)

    leaving.cancel()
    publisher.let_go.set()
    await staying

    assert leaving.cancelled() or leaving.cancelling()
