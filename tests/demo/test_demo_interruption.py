"""Ctrl-C takes effect where the demo waits, and nowhere else; the second one never."""

import asyncio
import os
import signal
from collections.abc import Iterator

import pytest

from jobservice.demo.interruption import Interruption

NUMBERS = [signal.SIGINT, signal.SIGTERM, signal.SIGHUP]


@pytest.fixture
def interruption() -> Iterator[Interruption]:
    before = signal.signal(signal.SIGHUP, signal.SIG_DFL)  # whoever started the tests by nohup has it ignored
    with Interruption() as taken_over:
        yield taken_over
    signal.signal(signal.SIGHUP, before)


def send(number: signal.Signals = signal.SIGINT) -> None:
    os.kill(os.getpid(), number)


@pytest.mark.parametrize("number", NUMBERS)
def test_where_it_is_allowed_a_signal_interrupts(interruption: Interruption, number: signal.Signals) -> None:
    with pytest.raises(KeyboardInterrupt), interruption.allowed():
        send(number)
        signal.pause()


def test_elsewhere_it_is_kept_for_the_next_such_place(interruption: Interruption) -> None:
    send()
    reached = False

    with pytest.raises(KeyboardInterrupt), interruption.allowed():
        reached = True

    assert not reached


def test_a_second_one_does_not_disturb_the_cleaning_up(interruption: Interruption) -> None:
    cleaned = False

    with pytest.raises(KeyboardInterrupt), interruption.allowed():
        try:
            send()
            signal.pause()
        finally:
            send()
            cleaned = True

    assert cleaned


def test_it_cancels_what_runs_and_lets_it_clean_up_undisturbed(interruption: Interruption) -> None:
    steps: list[str] = []

    async def main() -> None:
        try:
            send()
            await asyncio.Event().wait()
        finally:
            send()
            await asyncio.sleep(0)
            steps.append("cleaned up")

    with pytest.raises(KeyboardInterrupt):
        interruption.run(main())

    assert steps == ["cleaned up"]


def test_a_signal_before_the_run_lets_it_not_begin(interruption: Interruption) -> None:
    begun: list[str] = []

    async def main() -> None:
        begun.append("yes")

    send()
    with pytest.raises(KeyboardInterrupt):
        interruption.run(main())

    assert begun == []


def test_without_a_signal_a_run_gives_its_value(interruption: Interruption) -> None:
    async def main() -> int:
        return 7

    assert interruption.run(main()) == 7


def test_afterwards_the_handlers_are_as_before() -> None:
    before = [signal.getsignal(number) for number in NUMBERS]

    with Interruption():
        during = [signal.getsignal(number) for number in NUMBERS]

    assert [signal.getsignal(number) for number in NUMBERS] == before
    assert during != before


def test_what_nohup_asks_for_is_respected() -> None:
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with Interruption():
            assert signal.getsignal(signal.SIGHUP) is signal.SIG_IGN
    finally:
        signal.signal(signal.SIGHUP, before)
