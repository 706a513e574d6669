"""The rejected queue: looking loses nothing, sending again leads where it came from, dropping drops what was meant."""

import json
from typing import Any

import pytest

from jobservice import JobInfoService
from jobservice.broker.connection import BrokerLink
from jobservice.broker.frames import OutgoingMessage
from jobservice.broker.incoming import Incoming, Rejection
from jobservice.broker.names import BrokerNames
from jobservice.broker.publisher import Publisher
from jobservice.broker.settlement import rejected_message


@pytest.fixture
def refuse(daemon_link: BrokerLink, broker_prefix: str) -> Any:
    """Put a message into the rejected queue, as a daemon does."""
    from aiormq import spec

    names = BrokerNames(broker_prefix)
    publisher = Publisher(link=daemon_link, exchange="", mandatory=True)

    async def put(body: bytes, *, queue: str = names.submissions, message_id: str = "m-1") -> None:
        properties = spec.Basic.Properties(message_id=message_id, content_type="application/json", headers={"own": "x"})
        message = Incoming(body=body, routing_key="acme", delivery_tag=1, redelivered=False, properties=properties)
        message.rejection = Rejection(code="bad_field", reason="tenant is no name")
        outgoing: OutgoingMessage = rejected_message(message, names, queue)
        await publisher.publish([outgoing])

    return put


async def test_a_message_is_shown_with_its_reason_and_as_it_came(amqp_jobs: JobInfoService, refuse: Any) -> None:
    await refuse(b'{"job_class": "Nap"}')

    (message,) = await amqp_jobs.rejected.all()

    assert (message.code, message.reason, message.routing_key) == ("bad_field", "tenant is no name", "acme")
    assert (message.body, message.message_id, message.headers["own"]) == ('{"job_class": "Nap"}', "m-1", "x")


async def test_looking_often_loses_nothing_and_keeps_order_and_ids(amqp_jobs: JobInfoService, refuse: Any) -> None:
    for number in range(3):
        await refuse(b"%d" % number)
    before = await amqp_jobs.rejected.all()

    for _ in range(25):  # a quorum queue of RabbitMQ 4 drops a message after 20 failed deliveries
        seen = await amqp_jobs.rejected.all()

    assert [message.body for message in seen] == ["0", "1", "2"]
    assert [message.id for message in seen] == [message.id for message in before]


async def test_a_submission_is_sent_again_to_its_exchange_under_its_tenant(
    amqp_jobs: JobInfoService, refuse: Any, daemon_link: BrokerLink, broker_prefix: str
) -> None:
    await refuse(json.dumps({"job_class": "Nap", "tenant": "acme"}).encode())
    (message,) = await amqp_jobs.rejected.all()

    taken = await amqp_jobs.rejected.requeue({message.id})

    channel = await daemon_link.open_channel()
    got = await channel.basic_get(f"{broker_prefix}.submissions", no_ack=True)
    assert taken == [message.id]
    assert (got.routing_key, got.exchange) == ("acme", f"{broker_prefix}.submit")
    headers = dict(got.header.properties.headers or {})
    assert headers.pop("x-delivery-count", 0) == 0  # the broker's own
    assert headers == {"own": "x"}
    assert await amqp_jobs.rejected.count() == 0


async def test_only_the_chosen_message_is_dropped(amqp_jobs: JobInfoService, refuse: Any) -> None:
    await refuse(b"keep")
    await refuse(b"drop")
    chosen = next(message.id for message in await amqp_jobs.rejected.all() if message.body == "drop")

    assert await amqp_jobs.rejected.drop({chosen}) == [chosen]

    assert [message.body for message in await amqp_jobs.rejected.all()] == ["keep"]


async def test_all_are_dropped_when_none_is_named(amqp_jobs: JobInfoService, refuse: Any) -> None:
    await refuse(b"\xff\xfe")
    await refuse(b"two")

    assert len(await amqp_jobs.rejected.drop(None)) == 2

    assert await amqp_jobs.rejected.all() == []
