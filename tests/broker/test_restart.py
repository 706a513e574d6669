"""A broker that is really stopped and started again: what it confirmed is there, and everybody comes back."""

from collections.abc import Awaitable, Callable, Iterator, Sequence
from functools import partial

import pytest

from jobservice.broker.backoff import Backoff
from jobservice.broker.connection import BrokerLink
from jobservice.broker.consumer import GroupConsumer
from jobservice.broker.frames import OutgoingMessage
from jobservice.broker.incoming import Incoming
from jobservice.broker.names import BrokerNames
from jobservice.broker.publisher import Publisher
from jobservice.broker.settlement import Settlement
from jobservice.broker.topology import declare
from jobservice.domain.errors import BrokerUnavailable
from jobservice.servers.stack import PrivateStack

Eventually = Callable[[Callable[[], object], float], Awaitable[None]]


@pytest.fixture
def stack() -> Iterator[PrivateStack]:
    with PrivateStack(postgres=False) as stack:
        yield stack


def written_down(stack: PrivateStack, queue: str) -> bool:
    """Whether the broker has written that it has this quorum queue: it does so within half a second of the answer.

    Killed before that, it never serves the queue again: a consumer waits for ever (8 of 8, with the driver alone).
    """
    return any(queue.encode() in each.read_bytes() for each in stack.directory.rglob("names.dets"))


@pytest.mark.slow
@pytest.mark.parametrize("end", ["stop_rabbitmq", "kill_rabbitmq"])
async def test_no_confirmed_message_is_lost_over_a_restart_and_all_come_back(
    stack: PrivateStack, eventually: Eventually, end: str
) -> None:
    names, seen = BrokerNames(), []

    async def handler(messages: Sequence[Incoming]) -> None:
        for message in messages:
            seen.append(message.body)
            message.ack()

    set_up, backoff = partial(declare, names=names), Backoff(first=0.05, longest=0.2)
    async with (
        BrokerLink(url=stack.amqp_url, name="publish", set_up=set_up, backoff=backoff) as publishing,
        BrokerLink(url=stack.amqp_url, name="consume", set_up=set_up, backoff=backoff) as consuming,
    ):
        await publishing.wait_connected(30)
        publisher = Publisher(link=publishing, exchange=names.submit, mandatory=True)
        consumer = GroupConsumer(
            link=consuming,
            queue=names.submissions,
            handler=handler,
            settlement=Settlement(link=publishing, names=names),
            backoff=backoff,
        )
        await publisher.publish([OutgoingMessage("acme", f"{n}", b"%d" % n) for n in range(100)])
        await eventually(lambda: written_down(stack, names.submissions), 20)

        getattr(stack, end)()
        with pytest.raises(BrokerUnavailable):
            await publisher.publish([OutgoingMessage("acme", "x", b"meanwhile")])
        stack.start_rabbitmq()
        await consumer.start()

        await eventually(lambda: len(seen) == 100, 60)
        await publishing.wait_connected(60)
        await publisher.publish([OutgoingMessage("acme", "y", b"after")])
        await eventually(lambda: b"after" in seen, 60)
        await consumer.stop()
    assert seen == [b"%d" % n for n in range(100)] + [b"after"]
