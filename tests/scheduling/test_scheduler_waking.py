"""What wakes the scheduler when a run ends, and for what it tells submitters that they need not wake it."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from types import SimpleNamespace
from typing import Any
from uuid import UUID

import pytest

from jobservice.lifecycle.claim import Claim
from jobservice.pool.slot_time import SlotTime
from jobservice.scheduler.scheduler import GATHER_SECONDS, Scheduler

CAPACITY = 5


class Session:
    @asynccontextmanager
    async def use(self) -> AsyncIterator[None]:
        yield


class Installation:
    """A queue from which each claim takes so many jobs, so many slots free each time; what it says to others."""

    def __init__(self, *taken: int, free: int = CAPACITY, capacity: int = CAPACITY) -> None:
        self.taken = list(taken)
        self.claims = 0
        self.marks: list[bool] = []
        self.woken = 0
        self.awaited: list[int] = []
        """After which claims it was told that committed ends are awaited."""
        self.awaiting: list[bool] = []
        """Whether they were, at each claim."""
        pool: Any = SimpleNamespace(free=free, capacity=capacity, slot_time=SlotTime(), start=lambda job, key: None)
        parts: dict[str, Any] = {"session": Session(), "claimer": self, "daemons": self, "pool": pool}
        self.scheduler = Scheduler(
            daemon_id=UUID(int=1),
            queues=["default"],
            publish=lambda committed: None,
            doubt=lambda: None,
            withheld=tuple,
            wake=self.wake,
            awaits=lambda: self.awaited.append(self.claims),
            poll=1.0,
            **parts,
        )

    def wake(self) -> None:
        self.woken += 1

    async def claim(self, connection: Any, **given: Any) -> Claim:
        del connection, given
        self.claims += 1
        self.awaiting.append(self.scheduler.awaits_commits)
        card: Any = SimpleNamespace(job_id=None, tenant="t", queue="q", job_class="c", correlation_id=None)
        job: Any = SimpleNamespace(card=card, run=1)
        return Claim(jobs=(job,) * (self.taken.pop(0) if self.taken else 0))

    async def unblock(self, connection: Any, keys: Any) -> None: ...

    async def set_idle(self, connection: Any, daemon_id: UUID, idle: bool) -> None:
        del connection, daemon_id
        self.marks.append(idle)

    async def idle(self) -> None:
        while True not in self.marks:
            await self.scheduler.run_once()
        self.marks.clear()


@pytest.mark.parametrize(("taken", "freed", "ended"), [(CAPACITY, 1, 0), (CAPACITY - 1, 0, 1), (0, 0, 1)])
async def test_a_run_wakes_it_by_its_slot_where_more_may_be_queued_and_else_by_its_committed_end(
    taken: int, freed: int, ended: int
) -> None:
    made = Installation(taken)
    await made.scheduler.run_once()

    made.scheduler.slot_freed()
    by_slot = made.woken
    made.scheduler.release(None)

    assert (by_slot, made.woken - by_slot) == (freed, ended)


async def test_ends_are_awaited_once_a_claim_brought_less_than_it_had_slots_for_until_one_does_not() -> None:
    made = Installation(CAPACITY, 1, 1, CAPACITY, 0)

    for _ in range(5):
        await made.scheduler.run_once()

    assert made.awaiting == [False, False, True, True, False]  # while a claim is under way, what the one before says
    assert made.awaited == [2, 5]
    assert made.scheduler.awaits_commits


@pytest.mark.parametrize(
    ("taken", "marks"),
    [((1, 0, 1, 0, 1, 0), []), ((1, 1), [False]), ((CAPACITY,), [False])],
    ids=["now and then one", "again and again", "more than it has slots for"],
)
async def test_submitters_go_on_waking_a_daemon_that_has_only_single_jobs(
    taken: tuple[int, ...], marks: list[bool]
) -> None:
    made = Installation()
    await made.idle()
    made.taken.extend(taken)

    for _ in taken:
        await made.scheduler.run_once()

    assert made.marks == marks


async def test_single_slots_of_many_are_claimed_for_at_once_now_and_then_and_gather_where_they_come_in_a_stream(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    now = 100.0
    monkeypatch.setattr("jobservice.scheduler.scheduler.time", SimpleNamespace(monotonic=lambda: now))
    made = Installation(*[1] * 20, free=1, capacity=20)

    for _ in range(4):
        await made.scheduler.run_once()
        now += 10 * GATHER_SECONDS
    seldom, made.claims = made.claims, 0
    for _ in range(40):
        await made.scheduler.run_once()
        now += GATHER_SECONDS / 10

    assert (seldom, made.claims) == (4, 5)
