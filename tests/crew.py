"""A daemon without a pool: it claims as daemons do, and the test says how each run ends, by the real status writer."""

import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID

import asyncpg
from factory import SETTLER, HeldRun, make_daemon

from jobservice.domain.outcomes import Failed, Outcome, Succeeded
from jobservice.domain.states import JobStatus
from jobservice.lifecycle.claim import Claimer
from jobservice.lifecycle.status_writer import StatusWriter
from jobservice.lifecycle.upkeep import Upkeep
from jobservice.store.session import PINNED_PLANS, Session

NO = Failed("ValueError", "no")


class Listener:
    """Notes what the writer says of runs."""

    def __init__(self) -> None:
        self.settled_runs: list[tuple[UUID, JobStatus]] = []
        self.stale_runs: list[tuple[UUID, str | None]] = []

    def started(self, job_id: UUID, run: int) -> None: ...

    def settled(self, job_id: UUID, run: int, status: JobStatus) -> None:
        self.settled_runs.append((job_id, status))

    def stale(self, job_id: UUID, run: int, status: str | None) -> None:
        self.stale_runs.append((job_id, status))

    def stop_marked(self, job_id: UUID, run: int) -> None: ...


@dataclass
class Crew:
    """Two sessions of one daemon: one for its claims, one for its writer."""

    connection: asyncpg.Connection
    session: Session
    id: UUID
    claimer: Claimer
    writer: StatusWriter
    told: Listener

    @classmethod
    async def hired(cls, connection: asyncpg.Connection, url: str, *, session: Session | None = None) -> "Crew":
        daemon_id = await make_daemon(connection, job_classes=("Nap", "ProcessTile", "UploadTile"))
        session = session or Session(url=url, name="writer", settings=PINNED_PLANS)
        told = Listener()
        writer = StatusWriter(
            session=session, daemon_id=daemon_id, schema="jobservice", publish=lambda _: None, listener=told,
            follower=SETTLER, wake=lambda: None,
        )  # fmt: skip
        claimer = Claimer(daemon_id=daemon_id, schema="jobservice", submissions_published=False)
        return cls(connection, session, daemon_id, claimer, writer, told)

    async def close(self) -> None:
        await self.session.close()

    async def claim(self, slots: int = 1000, queue: str = "default") -> list[HeldRun]:
        """Runs that were started this moment; nobody was told of the start yet."""
        claim = await self.claimer.claim(self.connection, queue=queue, slots=slots, skipped_classes=(), charges={})
        return [HeldRun(job.card.job_id, job.run, job.card, time.monotonic()) for job in claim.jobs]

    async def start(self, runs: Sequence[HeldRun]) -> None:
        for run in runs:
            self.writer.start(run)
        await self.writer.run_once()

    async def end(self, runs: Sequence[HeldRun], outcome: Outcome | None = None) -> None:
        for run in runs:
            self.writer.finish(run, outcome or Succeeded())
        await self.writer.run_once()

    async def written(self) -> None:
        """Flushes until all that was reported is written: what somebody held comes with a later flush."""
        while self.writer.waiting:
            await self.writer.run_once()

    async def work(self, slots: int = 1000, outcome: Outcome | None = None) -> int:
        """Claims and ends that many; how many there were."""
        runs = await self.claim(slots)
        if runs:
            await self.end(runs, outcome)
        return len(runs)

    async def go_on(self) -> None:
        """What any daemon's look does for pipelines, until nothing is left."""
        upkeep = Upkeep(schema="jobservice", follower=SETTLER)
        for _ in range(10_000):
            due = await upkeep.look(self.connection)
            if due.expired:
                await upkeep.expire(self.connection)
            elif due.unsettled:
                await SETTLER.settle_next(self.connection)
            else:
                return
        raise AssertionError("unsettled for ever")

    async def work_all(self, outcome: Outcome | None = None) -> int:
        """Works until there is nothing more to claim; how many jobs it were."""
        done = 0
        while True:
            await self.go_on()
            count = await self.work(outcome=outcome)
            if not count:
                return done
            done += count

    async def rows(self, query: str, *arguments: Any) -> list[asyncpg.Record]:
        rows: list[asyncpg.Record] = await self.connection.fetch(query, *arguments)
        return rows
