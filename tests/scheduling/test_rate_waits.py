"""How long the scheduler waits where a rate holds jobs back: until the next may start, and never in a busy loop."""

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from types import SimpleNamespace
from typing import Any
from uuid import UUID

import pytest

from jobservice.lifecycle.claim import Claim
from jobservice.pool.slot_time import SlotTime
from jobservice.scheduler.scheduler import LOOK_AGAIN, LOOK_LATE, SOONEST, Scheduler

POLL = 10.0


class Session:
    @asynccontextmanager
    async def use(self) -> AsyncIterator[None]:
        yield


class HeldBack:
    """A claimer whose queues are held back for so many seconds; None: they are empty."""

    def __init__(self, seconds: Sequence[float | None]) -> None:
        self.seconds = dict(enumerate(seconds))

    async def claim(self, connection: Any, *, queue: str, **given: Any) -> Claim:
        del connection, given
        return Claim(again_in=self.seconds[int(queue)])


class Books:
    idle: bool | None = None

    async def set_idle(self, connection: Any, daemon_id: UUID, idle: bool) -> None:
        del connection, daemon_id
        self.idle = idle


def scheduler_of(*seconds: float | None) -> tuple[Scheduler, Books]:
    pool: Any = SimpleNamespace(free=5, capacity=5, slot_time=SlotTime())
    books = Books()
    parts: dict[str, Any] = {"session": Session(), "claimer": HeldBack(seconds), "daemons": books, "pool": pool}
    made = Scheduler(
        daemon_id=UUID(int=1),
        queues=[str(n) for n in range(len(seconds))],
        publish=lambda committed: None,
        doubt=lambda: None,
        withheld=tuple,
        wake=lambda: None,
        awaits=lambda: None,
        poll=POLL,
        **parts,
    )
    return made, books


async def settled(scheduler: Scheduler) -> float | None:
    """What it waits for when all looks for something new are over."""
    for _ in LOOK_AGAIN + LOOK_LATE:
        await scheduler.run_once()
    return await scheduler.run_once()


@pytest.mark.parametrize(
    ("seconds", "waits"),
    [
        ((0.7,), 0.7),
        ((None, 2.5, 0.9), 0.9),
        ((POLL * 3,), POLL),
        ((None,), None),
        ((0.000_001,), SOONEST),
    ],
)
async def test_it_waits_until_the_first_of_its_queues_may_start_one(
    seconds: Sequence[float | None], waits: float | None
) -> None:
    scheduler, _ = scheduler_of(*seconds)

    assert await settled(scheduler) == waits


async def test_a_wait_that_is_worth_it_leaves_the_daemon_idle_so_that_submitters_wake_it_for_other_queues() -> None:
    scheduler, books = scheduler_of(0.7, None)

    await settled(scheduler)

    assert books.idle


async def test_when_the_rate_holds_nothing_back_any_more_the_poll_floor_is_back() -> None:
    scheduler, _ = scheduler_of(0.7)
    await settled(scheduler)

    scheduler._claimer.seconds[0] = None  # type: ignore[attr-defined]

    assert await scheduler.run_once() is None


async def test_a_job_that_is_committed_after_the_look_that_follows_the_idle_mark_does_not_wait_for_the_poll() -> None:
    scheduler, books = scheduler_of(None)
    while not books.idle:
        waits = [await scheduler.run_once()]

    while (wait := await scheduler.run_once()) is not None:
        waits.append(wait)

    assert waits[0] == 0, "at once: for who asked before the mark and has committed"
    assert 0.1 < sum(wait or 0 for wait in waits) < POLL, "and later: for who asked before and commits now"
