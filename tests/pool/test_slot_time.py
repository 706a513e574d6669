"""What claims are told of the time that runs had slots, and of runs that have ended and are not written."""

import time
from dataclasses import replace
from types import SimpleNamespace
from typing import Any
from uuid import UUID

from runs import make_claimed

from jobservice.pool.slot_time import Held, SlotTime


def held(*, since: float, number: int = 1) -> Held:
    claimed = make_claimed()
    card = replace(claimed.card, job_id=UUID(int=number), queue="default", tenant="acme")
    run: Any = SimpleNamespace(job_id=card.job_id, claimed=replace(claimed, card=card))
    return Held(run, since, None)


def test_a_run_is_charged_when_its_slot_comes_free_and_for_what_passes_until_its_end_is_written() -> None:
    slot_time, run = SlotTime(), held(since=time.monotonic() - 10)

    slot_time.freed(run)
    first = slot_time.take_charges("default")
    run.charged_until -= 5
    slot_time.written(run)
    second = slot_time.take_charges("default")

    assert 10 <= first["acme"] < 15
    assert 5 <= second["acme"] < 10
    assert slot_time.take_charges("default") == {}


def test_an_ended_run_is_unwritten_until_its_end_is_committed_or_its_row_belongs_to_another() -> None:
    slot_time = SlotTime()
    runs = [held(since=time.monotonic(), number=n) for n in (1, 2, 3)]

    for run in runs:
        slot_time.freed(run)
    before = slot_time.unwritten("default")
    slot_time.written(runs[0])
    slot_time.forget(runs[1])

    assert set(before) == {UUID(int=1), UUID(int=2), UUID(int=3)}
    assert (slot_time.unwritten("default"), slot_time.unwritten("other")) == ([UUID(int=3)], [])


def test_a_run_whose_end_is_written_before_its_slot_is_free_is_charged_for_all_of_it_and_never_unwritten() -> None:
    slot_time, run = SlotTime(), held(since=time.monotonic() - 10)

    slot_time.written(run)
    run.charged_until -= 5
    slot_time.freed(run)

    assert 15 <= slot_time.take_charges("default")["acme"] < 20
    assert slot_time.unwritten("default") == []


def test_charges_that_could_not_be_told_count_with_the_next() -> None:
    slot_time = SlotTime()
    slot_time.give_back("default", {"acme": 2.0})
    slot_time.give_back("default", {"acme": 3.0})

    assert slot_time.take_charges("default") == {"acme": 5.0}
