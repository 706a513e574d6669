"""The scheduler while the database is away."""

import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from types import SimpleNamespace
from typing import Any
from uuid import UUID

import pytest

from jobservice.domain.errors import DatabaseUnavailable
from jobservice.pool.slot_time import SlotTime
from jobservice.scheduler.scheduler import Scheduler

BACK_OFF = 0.05
"""Seconds that a loop waits at least after a failure."""


class AwaySession:
    @asynccontextmanager
    async def use(self) -> AsyncIterator[Any]:
        raise DatabaseUnavailable("away")
        yield


async def test_each_look_of_a_nearly_full_daemon_fails_while_the_database_is_away_so_that_its_loop_backs_off(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    now = time.monotonic()
    monkeypatch.setattr("jobservice.scheduler.scheduler.time", SimpleNamespace(monotonic=lambda: now))
    pool: Any = SimpleNamespace(free=1, capacity=20, slot_time=SlotTime())
    parts: dict[str, Any] = {"claimer": None, "daemons": None, "publish": None, "session": AwaySession(), "pool": pool}
    parts |= {"doubt": lambda: None, "wake": lambda: None, "awaits": lambda: None, "withheld": tuple}
    scheduler = Scheduler(daemon_id=UUID(int=1), queues=["default"], poll=1.0, **parts)

    for _ in range(3):
        with pytest.raises(DatabaseUnavailable):
            await scheduler.run_once()
        now += BACK_OFF
