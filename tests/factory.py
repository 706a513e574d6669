"""Rows by the state they are in: `make_job(status=RUNNING, run=3)` fills in the rest legally. No verb is called."""

import json
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

import asyncpg

from jobservice.domain.facts import EventMode, Fact, JobCard
from jobservice.domain.states import FINAL, LIVE, JobStatus
from jobservice.sdk.progress import Progress
from jobservice.store.outbox import Outbox
from jobservice.workflow.settling import Settler

SETTLER = Settler(schema="jobservice")

LONG_AGO = datetime(2026, 1, 1, 12, 0, tzinfo=UTC)
"""The dates of made rows: whatever a verb writes is later."""

_TABLES = (
    "job_info", "job_run", "idempotency_key", "concurrency_key", "outbox", "outbox_rejected", "daemon", "queue",
    "tenant_share", "tenant", "setting", "subscription", "stage", "pipeline", "pipeline_outbox",
    "pipeline_outbox_rejected", "class_hold", "doubtful_hold",
    "step_run", "step_execution", "job_execution", "job_instance", "schedule",
    "tenant_call", "tenant_account", "claim_bound", "aging",
)  # fmt: skip
_JSON = {"parameters", "user_metadata", "result"}


@dataclass(frozen=True, slots=True)
class HeldRun:
    """A run as the pool holds it, for the status writer."""

    job_id: UUID
    run: int
    card: JobCard
    started_at: float | None = None
    progress: Progress = field(default_factory=Progress)
    has_key: bool = False

    @property
    def claimed(self) -> "HeldRun":
        return self


async def make_daemon(
    connection: asyncpg.Connection,
    *,
    queues: tuple[str, ...] = ("default",),
    job_classes: tuple[str, ...] = ("Nap",),
    idle: bool = False,
    ended: str | None = None,
) -> UUID:
    """A daemon's row and those of its queues; `ended` is `lost_at` or `stopped_at`."""
    daemon_id = uuid4()
    for queue in queues:
        await make_queue(connection, queue)
    await connection.execute(
        """INSERT INTO jobservice.daemon (id, host, pid, version, queues, job_classes, capacity, idle)
           VALUES ($1, 'host', 1, '1', $2, $3, 10, $4)""",
        daemon_id, list(queues), list(job_classes), idle,
    )  # fmt: skip
    if ended is not None:
        await connection.execute(f"UPDATE jobservice.daemon SET {ended} = $2 WHERE id = $1", daemon_id, LONG_AGO)
    return daemon_id


async def make_queue(connection: asyncpg.Connection, queue: str = "default", **columns: Any) -> None:
    """A queue's row with these columns."""
    await connection.execute("INSERT INTO jobservice.queue (queue) VALUES ($1) ON CONFLICT DO NOTHING", queue)
    for name, value in columns.items():
        await connection.execute(f"UPDATE jobservice.queue SET {name} = $2 WHERE queue = $1", queue, value)


async def make_job(
    connection: asyncpg.Connection, status: JobStatus = JobStatus.QUEUED, *, daemon: UUID | None = None, **columns: Any
) -> UUID:
    """A job in `status`. What is not given is what a legal life up to there would have left."""
    row = _legal(status, daemon) | columns
    names = list(row)
    values = [json.dumps(row[name]) if name in _JSON and row[name] is not None else row[name] for name in names]
    places = [f"${n}::text::jsonb" if name in _JSON else f"${n}" for n, name in enumerate(names, 1)]
    await connection.execute(
        f"INSERT INTO jobservice.job_info ({', '.join(names)}) VALUES ({', '.join(places)})", *values
    )
    if row["concurrency_key"] is not None:
        await connection.execute(
            "INSERT INTO jobservice.concurrency_key (tenant, key) VALUES ($1, $2) ON CONFLICT DO NOTHING",
            row["tenant"], row["concurrency_key"],
        )  # fmt: skip
    job_id: UUID = row["id"]
    return job_id


def _legal(status: JobStatus, daemon: UUID | None) -> dict[str, Any]:
    row: dict[str, Any] = {
        "id": uuid4(), "tenant": "acme", "queue": "default", "job_class": "Nap", "status": status.value,
        "created_date": LONG_AGO, "run": 0, "attempt": 0, "concurrency_key": None,
    }  # fmt: skip
    if status is JobStatus.PENDING:
        row["held"] = "user"
    if status is not JobStatus.PENDING:
        row |= {"queued_date": LONG_AGO, "sequence": 1}
    if status in LIVE or status in FINAL:
        row |= {"run": 1, "attempt": 1, "sequence": 2, "daemon_id": daemon or uuid4(), "claim_date": LONG_AGO}
    if status is JobStatus.RUNNING or status in FINAL:
        row |= {"sequence": 3, "start_date": LONG_AGO + timedelta(seconds=1)}
    if status in FINAL:
        row |= {"sequence": 4, "stop_date": LONG_AGO + timedelta(seconds=2)}
    if status is JobStatus.SUCCEEDED:
        row |= {"percent_completed": 100, "result": {"n": 1}, "result_class": "int"}
    if status is JobStatus.FAILED:
        row |= {"error_type": "ValueError", "error_message": "no", "stack_trace": "…"}
    if status is JobStatus.ABORTED:
        row |= {"stop_requested_at": LONG_AGO, "stop_reason": "stopped"}
    return row


def held_run(job_id: UUID, run: int, *, started_at: float | None = None, events: EventMode = "all") -> HeldRun:
    """The run of a job, as its daemon holds it; `events` is what its queue published when it was claimed."""
    card = JobCard(job_id=job_id, tenant="acme", queue="default", job_class="Nap", events=events)
    return HeldRun(job_id, run, card, started_at)


async def row_of(connection: asyncpg.Connection, job_id: UUID) -> dict[str, Any]:
    """The job's whole row."""
    row = await connection.fetchrow("SELECT * FROM jobservice.job_info WHERE id = $1", job_id)
    assert row is not None
    return dict(row)


async def outbox_rows(connection: asyncpg.Connection) -> list[tuple[Fact, ...]]:
    """The facts of each outbox row, in the order of the rows."""
    ids = await connection.fetch("SELECT DISTINCT unnest(job_ids) AS id FROM jobservice.outbox")
    facts = await Outbox(schema="jobservice").earlier(connection, before=2**62, jobs=[row["id"] for row in ids])
    lengths = await connection.fetch("SELECT cardinality(job_ids) AS n FROM jobservice.outbox ORDER BY id")
    rows, position = [], 0
    for length in lengths:
        rows.append(tuple(facts[position : position + length["n"]]))
        position += length["n"]
    return rows


async def empty_tables(connection: asyncpg.Connection) -> None:
    """All rows gone but the schema's version."""
    await connection.execute(";".join(f"DELETE FROM jobservice.{table}" for table in _TABLES))


async def end_other_sessions(connection: asyncpg.Connection) -> None:
    """Ends what an earlier test may have left: it would hold its locks."""
    await connection.execute(
        """SELECT pg_terminate_backend(pid) FROM pg_stat_activity
           WHERE datname = current_database() AND pid <> pg_backend_pid() AND backend_type = 'client backend'"""
    )
