"""The link: there again whenever the broker is, told once, silent about passwords."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
import structlog
from aiormq.abc import AbstractChannel

from jobservice.broker.backoff import Backoff
from jobservice.broker.connection import BrokerLink
from jobservice.broker.driver import translated
from jobservice.domain.errors import BrokerUnavailable, ConfigurationError

Eventually = Callable[[Callable[[], object]], Awaitable[None]]
Failed = Callable[[BrokerLink], Awaitable[None]]
FAST = {"first": 0.01, "longest": 0.05}


@pytest.fixture
def failed(eventually: Eventually) -> Failed:
    """Waits until a link's attempt has failed, and raises what it says of that to who does not want to wait."""

    async def failed(link: BrokerLink) -> None:
        await eventually(lambda: link._failure is not None)
        await link.wait_connected(0)

    return failed


async def test_a_link_starts_while_the_broker_is_away_and_connects_when_it_comes(proxy: Any, failed: Failed) -> None:
    await proxy.away()

    async with BrokerLink(url=proxy.url, name="test", backoff=Backoff(**FAST)) as link:
        with pytest.raises(BrokerUnavailable, match=str(proxy.port)):
            await failed(link)
        was_connected = link.connected
        await proxy.open()
        await link.wait_connected(20)

        assert not was_connected
        assert link.connected
        assert not link.lost.is_set()


async def test_a_lost_connection_is_made_again_and_set_up_again(proxy: Any) -> None:
    channels: list[AbstractChannel] = []

    async def set_up(channel: AbstractChannel) -> None:
        channels.append(channel)

    async with BrokerLink(url=proxy.url, name="test", set_up=set_up, backoff=Backoff(**FAST)) as link:
        await link.wait_connected(20)
        proxy.cut()
        await asyncio.wait_for(link.lost.wait(), 20)
        await link.wait_connected(20)

        assert len(channels) == 2
        assert (await link.open_channel()).is_closed is False


async def test_coming_and_going_are_told_once_each_not_per_attempt(proxy: Any, eventually: Eventually) -> None:
    with structlog.testing.capture_logs() as logs:
        async with BrokerLink(url=proxy.url, name="test", backoff=Backoff(**FAST)) as link:
            await link.wait_connected(20)
            await proxy.away()
            await asyncio.wait_for(link.lost.wait(), 20)
            await eventually(lambda: link._backoff.attempts >= 5)
            await proxy.open()
            await link.wait_connected(20)

    told = [entry["event"] for entry in logs]
    assert told == ["broker.connect", "broker.lost", "broker.unreachable", "broker.connect"]
    assert "password" not in str(logs)


async def test_a_broker_that_does_not_answer_is_given_up_after_the_deadline(proxy: Any, failed: Failed) -> None:
    proxy.freeze()

    async with BrokerLink(url=proxy.url, name="test", attempt_timeout=0.1, backoff=Backoff(**FAST)) as link:
        with pytest.raises(BrokerUnavailable, match="no answer within"):
            await failed(link)
        link._attempt_timeout = 10.0  # a broker that does answer is given the time of a busy machine
        proxy.thaw()
        await link.wait_connected(20)


@pytest.mark.parametrize("error", [StopAsyncIteration(), Exception(), RuntimeError("closed"), ConnectionError()])
def test_what_the_driver_raises_when_a_connection_closes_means_that_the_broker_is_away(error: Exception) -> None:
    told = translated(error, doing="connecting")

    assert isinstance(told, BrokerUnavailable)
    assert "while connecting" in str(told)


def test_an_error_of_ours_is_not_taken_for_an_absent_broker() -> None:
    mistake = KeyError("name")

    assert translated(mistake, doing="connecting") is mistake


async def test_a_set_up_that_the_broker_refuses_is_told_with_its_reason(proxy: Any, failed: Failed) -> None:
    async def set_up(channel: AbstractChannel) -> None:
        await channel.exchange_declare("amq.topic", exchange_type="direct", durable=True)

    async with BrokerLink(url=proxy.url, name="test", set_up=set_up, backoff=Backoff(**FAST)) as link:
        with pytest.raises(ConfigurationError, match=r"amq\.topic"):
            await failed(link)


async def test_a_wrong_password_is_told_without_the_password(amqp_url: str, failed: Failed) -> None:
    from yarl import URL

    wrong = str(URL(amqp_url).with_password("s3cret-wrong"))

    async with BrokerLink(url=wrong, name="test") as link:
        with pytest.raises(BrokerUnavailable, match="login") as failure:
            await failed(link)

    assert "s3cret" not in str(failure.value)


@pytest.mark.parametrize("url", ["", "localhost", "http://u:s3cret@h/", "amqp://", "amqp://u:s3cret@h:port/"])
def test_an_url_that_is_none_is_refused_without_repeating_it(url: str) -> None:
    with pytest.raises(ConfigurationError) as failure:
        BrokerLink(url=url, name="test")

    assert "s3cret" not in str(failure.value)


async def test_stopping_while_the_peer_hangs_ends_soon(proxy: Any) -> None:
    link = BrokerLink(url=proxy.url, name="test")
    await link.start()
    await link.wait_connected(20)

    proxy.freeze()
    begin = time.monotonic()
    await link.stop()

    assert time.monotonic() - begin < 10
    assert not link.connected
