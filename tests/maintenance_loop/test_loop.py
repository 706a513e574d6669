"""The one background loop: woken, backing off, never dying of an error, ending when told."""

import asyncio

import pytest

from jobservice.domain.errors import UnavailableError
from jobservice.loop import Loop

NEVER = 3600.0


class Rounds:
    """Counts the rounds; each may fail, and each says when the next one comes."""

    def __init__(self) -> None:
        self.count = 0
        self.error: Exception | None = None
        self.turned = asyncio.Event()

    async def run_once(self) -> float | None:
        self.count += 1
        self.turned.set()
        if self.error is not None:
            raise self.error
        return None

    async def next(self) -> int:
        await asyncio.wait_for(self.turned.wait(), 20)
        self.turned.clear()
        return self.count


@pytest.fixture
def rounds() -> Rounds:
    return Rounds()


async def test_waking_ends_the_wait_for_the_interval(rounds: Rounds) -> None:
    loop = Loop(name="test", run_once=rounds.run_once, interval=NEVER)
    loop.start()
    assert await rounds.next() == 1

    loop.wake()

    assert await rounds.next() == 2
    await loop.stop()


@pytest.mark.parametrize("error", [UnavailableError("away"), ValueError("a fault")])
async def test_an_error_ends_a_round_and_not_the_loop(
    rounds: Rounds, error: Exception, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("jobservice.loop._FIRST_DELAY", 0.001)
    loop = Loop(name="test", run_once=rounds.run_once, interval=NEVER)
    rounds.error = error
    loop.start()
    while rounds.count < 4:
        await rounds.next()

    rounds.error = None
    await rounds.next()
    while loop.failures:
        await asyncio.sleep(0)

    loop.wake()
    await rounds.next()
    await loop.stop()


async def test_waking_does_not_shorten_a_back_off(rounds: Rounds, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("jobservice.loop._FIRST_DELAY", NEVER)
    monkeypatch.setattr("jobservice.loop._LONGEST_DELAY", NEVER)
    loop = Loop(name="test", run_once=rounds.run_once, interval=NEVER)
    rounds.error = UnavailableError("away")
    loop.start()
    await rounds.next()

    for _ in range(100):
        loop.wake()
        await asyncio.sleep(0)

    assert rounds.count == 1
    await loop.stop()


async def test_a_stop_ends_a_back_off_at_once(rounds: Rounds, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("jobservice.loop._FIRST_DELAY", NEVER)
    monkeypatch.setattr("jobservice.loop._LONGEST_DELAY", NEVER)
    loop = Loop(name="test", run_once=rounds.run_once, interval=NEVER)
    rounds.error = UnavailableError("away")
    loop.start()
    await rounds.next()

    await asyncio.wait_for(loop.stop(within=NEVER), 20)

    assert rounds.count == 1


async def test_a_round_that_does_not_end_is_cancelled_at_the_stop() -> None:
    begun = asyncio.Event()

    async def endless() -> float | None:
        begun.set()
        await asyncio.Event().wait()
        return None

    loop = Loop(name="test", run_once=endless, interval=NEVER)
    loop.start()
    await begun.wait()

    await asyncio.wait_for(loop.stop(within=0.01), 20)
