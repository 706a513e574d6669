"""What clients send once they have their answers is handled with what waited meanwhile; nobody waits for long."""

import asyncio
from collections.abc import Sequence
from typing import Any

import pytest
from consuming import Consume, Eventually, Recorder
from hypothesis import given
from hypothesis import strategies as st

from jobservice.broker.gathering import MANY, PATIENCE, REST, Gathering
from jobservice.broker.incoming import Incoming
from jobservice.broker.intake import Intake


def test_a_message_that_comes_alone_never_waits() -> None:
    gathering, now = Gathering(), 10.0

    for _ in range(3):
        assert gathering.wait(1, now) == 0
        gathering.handed_over(1, there=0, now=now)
        now += PATIENCE / 10


def test_as_many_are_waited_for_as_were_answered_and_as_waited_meanwhile() -> None:
    gathering = Gathering()
    gathering.handed_over(5, there=4, now=10.0)

    assert gathering.wait(4, 10.0) == pytest.approx(PATIENCE)
    assert gathering.wait(8, 10.0) == pytest.approx(PATIENCE)
    assert gathering.wait(9, 10.0) == 0


def test_many_are_a_group_whatever_else_may_come() -> None:
    gathering = Gathering()
    gathering.handed_over(100, there=MANY, now=10.0)

    assert gathering.wait(MANY - 1, 10.0) > 0
    assert gathering.wait(MANY, 10.0) == 0


def test_what_comes_after_a_silence_waits_for_nobody() -> None:
    gathering = Gathering()
    gathering.handed_over(5, there=0, now=10.0)

    assert gathering.wait(1, 10.0 + PATIENCE) == 0
    gathering.handed_over(5, there=0, now=20.0)
    assert gathering.wait(1, 20.0) > 0  # and that was no disappointment


def test_where_nobody_comes_nobody_is_waited_for_for_a_while() -> None:
    gathering, now, waited = Gathering(), 10.0, []

    for _ in range(2 * (REST + 1)):
        gathering.handed_over(5, there=0, now=now)
        wait = gathering.wait(2, now)
        waited.append(wait > 0)
        now += wait
        assert gathering.wait(2, now) == 0

    assert waited == 2 * [True, *[False] * REST]


@given(st.lists(st.tuples(st.integers(1, 40), st.integers(0, 40), st.floats(0, 0.02)), max_size=60))
def test_no_group_is_held_for_longer_than_the_patience(groups: list[tuple[int, int, float]]) -> None:
    gathering, now = Gathering(), 10.0

    for messages, there, pause in groups:
        now += pause
        came = now
        while wait := gathering.wait(messages, now):
            now += wait
        assert now - came <= PATIENCE + 1e-9
        gathering.handed_over(messages, there=there, now=now)


@pytest.mark.parametrize(
    ("patience", "groups"), [(60.0, [b"a", b"b c d"]), (0.05, [b"a", b"b c", b"d"])], ids=["patient", "short"]
)
async def test_a_group_waits_for_those_that_were_answered_last(  # noqa: PLR0917
    consume: Consume,
    send: Any,
    eventually: Eventually,
    monkeypatch: pytest.MonkeyPatch,
    patience: float,
    groups: list[bytes],
) -> None:
    record, deliveries, on_delivery = Recorder(), 0, Intake._on_delivery

    def count(intake: Intake, delivery: Any) -> None:
        nonlocal deliveries
        deliveries += 1
        on_delivery(intake, delivery)

    async def handler(messages: Sequence[Incoming]) -> None:
        if messages[0].body == b"a":
            await asyncio.to_thread(send, b"b", b"c")
            await eventually(lambda: deliveries == 3)
        await record(messages)

    monkeypatch.setattr(Intake, "_on_delivery", count)
    await consume(handler, gathering=Gathering(patience=patience))
    send(b"a")
    await eventually(lambda: len(record.groups) == len(groups) - 1)
    send(b"d")
    await eventually(lambda: len(record.bodies) == 4)

    assert [b" ".join(group) for group in record.groups] == groups


async def test_a_group_that_waits_for_more_is_left_by_a_pause_and_by_a_stop(
    consume: Consume, send: Any, eventually: Eventually
) -> None:
    record = Recorder()
    gathering = Gathering(patience=60.0)
    gathering.handed_over(5, there=0, now=asyncio.get_running_loop().time())
    consumer = await consume(record, gathering=gathering)
    send(b"a")
    await eventually(lambda: gathering._waits)

    consumer.pause()
    await eventually(lambda: consumer.paused)
    async with asyncio.timeout(10):
        await consumer.stop()

    assert not record.groups
