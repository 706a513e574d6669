"""Results that wait for their commit hold up claims before they fill the memory."""

import asyncio
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from uuid import UUID

import pytest
from runs import SECONDS
from test_attempts import Bench, Told, first

from jobservice.domain.states import JobStatus
from jobservice.pool import pool as pool_module
from jobservice.scheduler.scheduler import FULL_SECONDS, Scheduler

RESULT = 1_000


@pytest.fixture
def bench(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Bench:
    monkeypatch.setattr(pool_module, "RESULTS_UNCOMMITTED", 5 * RESULT)
    return Bench(executor="asyncio", directory=tmp_path, told=Told())


async def test_no_more_are_claimed_until_enough_results_are_committed(bench: Bench) -> None:
    pool = bench.pool(bench.job(lambda job: (RESULT - 2) * "x"))
    runs = []
    for number in range(6):
        claimed = first(run=number + 1)
        runs.append((claimed.card.job_id, claimed.run))
        bench.freed.clear()
        pool.start(claimed, None)
        assert pool.free == 1
        await asyncio.wait_for(bench.freed.wait(), SECONDS)

    assert (pool.full, pool.free, pool.running) == (True, 0, 0)

    pool._in_flight.settled(*runs[0], JobStatus.SUCCEEDED)
    assert (pool.full, pool.free) == (False, 2)
    pool._in_flight.stale(*runs[1], "QUEUED")
    for run in runs[2:]:
        pool._in_flight.settled(*run, JobStatus.SUCCEEDED)
    assert pool._in_flight.results_held == 0


@pytest.mark.parametrize(("full", "waits"), [(True, FULL_SECONDS), (False, None)])
async def test_a_scheduler_looks_again_soon_when_only_commits_are_in_its_way(full: bool, waits: float | None) -> None:
    pool: Any = SimpleNamespace(free=0, full=full)
    parts: dict[str, Any] = {"session": None, "claimer": None, "daemons": None, "publish": None, "pool": pool}
    parts |= {"doubt": lambda: None, "wake": lambda: None, "awaits": lambda: None, "withheld": tuple}
    scheduler = Scheduler(daemon_id=UUID(int=1), queues=["default"], poll=1.0, **parts)

    assert await scheduler.run_once() == waits
