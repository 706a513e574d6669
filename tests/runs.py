"""Runs of jobs as the daemon's pool makes them, one at a time, with what they report; a conftest imports them."""

import asyncio
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
import structlog

from jobservice import AbstractJob
from jobservice.domain.claimed import ClaimedJob
from jobservice.domain.facts import JobCard
from jobservice.domain.outcomes import HandedBack, Outcome
from jobservice.pool.executors import AsyncioExecutor, ThreadExecutor
from jobservice.pool.run import Run
from jobservice.pool.workspace import Workspaces
from jobservice.sdk.registry import Registry

SECONDS = 20
"""How long anything here is waited for at most."""

Body = Callable[[AbstractJob], object]


def made_job(executor: str, body: Body, **attributes: Any) -> type[AbstractJob]:
    """A class named Work whose `run` does `body`, in the manner of this executor."""

    def on_a_thread(self: AbstractJob) -> object:
        return body(self)

    async def on_the_loop(self: AbstractJob) -> object:
        return body(self)

    run = on_a_thread if executor == "thread" else on_the_loop
    return type("Work", (AbstractJob,), {"run": run, **attributes})


@dataclass
class Reports:
    """Keeps what a run reports, in order."""

    told: list[object] = field(default_factory=list)
    started: asyncio.Event = field(default_factory=asyncio.Event)

    def start(self, run: Run) -> None:
        self.told.append("start")
        self.started.set()

    def finish(self, run: Run, outcome: Outcome) -> None:
        self.told.append(outcome)


@dataclass
class Pool:
    """Runs jobs as the daemon's pool does, and keeps what they report."""

    executor: str
    directory: Path
    reports: Reports = field(default_factory=Reports)
    unknown: Outcome | Exception = field(default_factory=lambda: HandedBack("unknown here"))
    threads: ThreadExecutor = field(default_factory=lambda: ThreadExecutor(2))

    def job(self, body: Body, **attributes: Any) -> type[AbstractJob]:
        """A class named Work whose `run` does `body`, in the manner of this executor."""
        return made_job(self.executor, body, **attributes)

    def run_of(self, *classes: type[AbstractJob], **claimed: Any) -> Run:
        async def unknown_class(run: Run) -> Outcome:
            if isinstance(self.unknown, Exception):
                raise self.unknown
            return self.unknown

        log = structlog.get_logger()
        return Run(
            claimed=make_claimed(**claimed),
            registry=Registry.of(*classes),
            executors={"asyncio": AsyncioExecutor(), "thread": self.threads},
            workspaces=Workspaces(self.directory, log),
            reports=self.reports,
            log=log,
            unknown_class=unknown_class,
        )

    async def told_by(self, *classes: type[AbstractJob], **claimed: Any) -> list[object]:
        """What a run of the first class, to its end, reports."""
        await asyncio.wait_for(self.run_of(*classes, **claimed).execute(), SECONDS)
        return self.reports.told

    async def outcome_of(self, body: Body, **claimed: Any) -> Any:
        return (await self.told_by(self.job(body), **claimed))[-1]


def make_claimed(*, parameters: str = "{}", expired: bool = False, job_class: str = "Work", **card: Any) -> ClaimedJob:
    return ClaimedJob(
        card=JobCard(job_id=uuid4(), tenant="acme", queue="default", job_class=job_class, **card),
        run=3,
        attempt=2,
        max_attempts=2,
        sequence=7,
        priority=50,
        parameters=parameters,
        expired=expired,
        timeout=None,
        user_metadata='{"parent": 1}',
        created_date=datetime(2030, 1, 1, tzinfo=UTC),
    )


@pytest.fixture(params=["asyncio", "thread"])
async def pool(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Pool]:
    pool = Pool(executor=request.param, directory=tmp_path / "workspaces")
    yield pool
    pool.threads.close()


@pytest.fixture
async def loop_pool(tmp_path: Path) -> Pool:
    return Pool(executor="asyncio", directory=tmp_path / "workspaces")
