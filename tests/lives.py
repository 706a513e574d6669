"""The stage on which jobs live in any order of verbs: a database, daemons that come and go, the rows as they are."""

import asyncio
from dataclasses import dataclass
from typing import Any
from uuid import UUID

import asyncpg
from factory import SETTLER, HeldRun, make_daemon

from jobservice.domain.outcomes import Outcome
from jobservice.domain.states import JobStatus
from jobservice.lifecycle.claim import Claimer
from jobservice.lifecycle.commands import Commands
from jobservice.lifecycle.limits import Limits
from jobservice.lifecycle.rescue import Rescuer
from jobservice.lifecycle.status_writer import StatusWriter
from jobservice.lifecycle.upkeep import Upkeep
from jobservice.store.session import Session

TENANTS, QUEUES, KEYS = ("acme", "bolt"), ("default", "other"), ("k", "l")
MAX_LOST_RUNS = 2
ROWS = """SELECT j.*, k.max_running AS key_max FROM jobservice.job_info j
          LEFT JOIN jobservice.concurrency_key k ON k.tenant = j.tenant AND k.key = j.concurrency_key
          ORDER BY j.number"""

Rows = dict[UUID, dict[str, Any]]


@dataclass
class Boot:
    """One daemon's life: an id, its writer, and the runs that this was told are stale."""

    id: UUID
    writer: StatusWriter
    claimer: Claimer
    stale_runs: list[tuple[UUID, int]]


@dataclass
class HeldByDaemon:
    """A run as its daemon holds it, and how it has reported its end."""

    daemon: Boot
    run: HeldRun
    outcome: Outcome | None = None


class Listener:
    """Notes the stale runs."""

    def __init__(self) -> None:
        self.stale_runs: list[tuple[UUID, int]] = []

    def started(self, job_id: UUID, run: int) -> None: ...

    def settled(self, job_id: UUID, run: int, status: JobStatus) -> None: ...

    def stale(self, job_id: UUID, run: int, status: str | None) -> None:
        self.stale_runs.append((job_id, run))

    def stop_marked(self, job_id: UUID, run: int) -> None: ...


class Stage:
    """The database, and the sessions that outlive one example."""

    def __init__(self, runner: asyncio.Runner, url: str) -> None:
        self.run = runner.run
        self.connection: asyncpg.Connection = self.run(asyncpg.connect(url))
        self.url = url
        self.session = Session(url=url, name="lives")
        self.commands = Commands()
        self.limits = Limits()
        self.upkeep = Upkeep(schema="jobservice", follower=SETTLER)
        self.rescuer = Rescuer(schema="jobservice", max_lost_runs=MAX_LOST_RUNS, follower=SETTLER)

    def close(self) -> None:
        self.run(self.session.close())
        self.run(self.connection.close())

    def rows(self) -> Rows:
        return {row["id"]: dict(row) for row in self.run(self.connection.fetch(ROWS))}

    def boot(self) -> Boot:
        daemon_id = self.run(make_daemon(self.connection, queues=QUEUES))
        listener = Listener()
        writer = StatusWriter(
            session=self.session, daemon_id=daemon_id, schema="jobservice", publish=lambda _: None, listener=listener,
            follower=SETTLER,
            wake=lambda: None,
        )  # fmt: skip
        claimer = Claimer(daemon_id=daemon_id, schema="jobservice", submissions_published=True)
        return Boot(daemon_id, writer, claimer, listener.stale_runs)
