"""What the daemon declares is what the contract says, seen by a foreign client."""

from typing import Any

import pika
import pytest
from pika.adapters.blocking_connection import BlockingChannel
from pika.exceptions import ChannelClosedByBroker

from jobservice.broker.connection import BrokerLink
from jobservice.broker.names import BrokerNames
from jobservice.broker.topology import declare, declare_subscription, patterns
from jobservice.domain.errors import ConfigurationError, InvalidSubmission
from jobservice.domain.states import JobStatus


def contract_arguments(prefix: str) -> dict[str, object]:
    return {
        "x-queue-type": "quorum",
        "x-delivery-limit": 20,
        "x-dead-letter-exchange": "",
        "x-dead-letter-routing-key": f"{prefix}.rejected",
    }


def test_names_are_the_contracts_names() -> None:
    names = BrokerNames()

    spelled = [
        names.events,
        names.pipelines,
        names.submit,
        names.submissions,
        names.command,
        names.control,
        names.rejected,
    ]

    words = ["events", "pipelines", "submit", "submissions", "command", "control", "rejected"]
    assert spelled == [f"jobservice.{word}" for word in words]
    assert names.subscription("billing") == names.noted_subscription("billing") == "jobservice.events.billing"
    assert names.noted_subscription("pipelines.billing") == "jobservice.pipelines.billing"


@pytest.mark.parametrize("prefix", ["", "a.b", "a/b", "x" * 65])
def test_a_prefix_that_is_not_one_word_is_refused(prefix: str) -> None:
    with pytest.raises(ConfigurationError, match=r"broker\.prefix"):
        BrokerNames(prefix=prefix)


async def test_queues_have_exactly_the_contracts_arguments(
    link: BrokerLink, names: BrokerNames, foreign: BlockingChannel
) -> None:
    shared = contract_arguments(names.prefix)

    # A declaration with other arguments would close the channel.
    foreign.queue_declare(names.submissions, durable=True, arguments=shared)
    foreign.queue_declare(names.control, durable=True, arguments=shared)
    foreign.queue_declare(names.rejected, durable=True, arguments={"x-queue-type": "quorum"})

    for exchange in (names.events, names.pipelines, names.submit, names.command):
        foreign.exchange_declare(exchange, exchange_type="topic", durable=True)
        foreign.exchange_declare(exchange, passive=True)
    with pytest.raises(ChannelClosedByBroker, match="x-delivery-limit"):
        foreign.queue_declare(names.submissions, durable=True, arguments=shared | {"x-delivery-limit": 19})


@pytest.mark.parametrize("key", ["acme", "_operator"])
async def test_submissions_and_commands_reach_their_queues_by_any_tenant(
    link: BrokerLink, names: BrokerNames, foreign: BlockingChannel, key: str
) -> None:
    foreign.confirm_delivery()

    foreign.basic_publish(names.submit, key, b"a submission", mandatory=True)
    foreign.basic_publish(names.command, key, b"a command", mandatory=True)

    assert foreign.basic_get(names.submissions, auto_ack=True)[2] == b"a submission"
    assert foreign.basic_get(names.control, auto_ack=True)[2] == b"a command"


async def test_declaring_twice_changes_nothing(link: BrokerLink, names: BrokerNames) -> None:
    channel = await link.open_channel()

    await declare(channel, names)
    await declare(channel, names)

    assert not channel.is_closed


async def test_a_durable_subscription_is_bounded_and_drops_its_oldest(
    link: BrokerLink, names: BrokerNames, foreign: BlockingChannel
) -> None:
    channel = await link.open_channel()

    queue = await declare_subscription(channel, names, "billing", ["acme.*.*.FAILED"], expires=60)

    bounded = contract_arguments(names.prefix) | {
        "x-max-length": 1_000_000,
        "x-overflow": "drop-head",
        "x-expires": 60_000,
    }
    foreign.queue_declare(queue, durable=True, arguments=bounded)
    foreign.confirm_delivery()
    foreign.basic_publish(names.events, "acme.default.NoOp.FAILED", b"wanted", mandatory=True)
    with pytest.raises(pika.exceptions.UnroutableError):
        foreign.basic_publish(names.events, "other.default.NoOp.FAILED", b"not wanted", mandatory=True)
    foreign.queue_delete(queue)


@pytest.mark.parametrize(
    ("wanted", "keys"),
    [
        ({}, ["#"]),
        ({"tenant": "acme"}, ["acme.*.*.*"]),
        ({"queue": "slow", "job_class": "NoOp"}, ["*.slow.NoOp.*"]),
        ({"statuses": {JobStatus.FAILED, JobStatus.ABORTED}}, ["*.*.*.ABORTED", "*.*.*.FAILED"]),
        ({"tenant": "acme", "statuses": [JobStatus.RUNNING]}, ["acme.*.*.RUNNING"]),
    ],
)
def test_a_filter_becomes_one_pattern_for_each_status(wanted: dict[str, Any], keys: list[str]) -> None:
    statuses = wanted.pop("statuses", ())

    assert patterns({"tenant": None, "queue": None, "job_class": None} | wanted, statuses) == keys


@pytest.mark.parametrize("word", ["#", "*", "a.b", "x" * 300])
def test_a_filter_cannot_smuggle_in_a_pattern(word: str) -> None:
    with pytest.raises(InvalidSubmission, match="tenant"):
        patterns({"tenant": word}, ())
