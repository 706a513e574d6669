"""What a daemon holds in memory is bounded by numbers and by size, however much waits elsewhere."""

from datetime import UTC, datetime
from typing import Any
from uuid import UUID

import asyncpg
import pytest
from factory import held_run, make_job
from writers import WriterOf

from jobservice.domain.facts import Committed, Fact, JobCard
from jobservice.domain.outcomes import Succeeded
from jobservice.domain.states import JobStatus
from jobservice.events.memory import FACTS_IN_MEMORY, RESULTS_IN_MEMORY
from jobservice.events.relay import Relay
from jobservice.lifecycle.claim import Claimer
from jobservice.lifecycle.status_writer import RESULTS_AT_ONCE
from jobservice.lifecycle.telling import RESULT_TOLD

MEGABYTE = 1_000_000
SUBMIT = "SELECT count(*) FROM jobservice.submit($1::text::jsonb)"


async def test_a_claim_holds_as_many_jobs_as_there_are_slots_however_many_are_queued(
    connection: asyncpg.Connection, daemon: UUID
) -> None:
    await connection.execute(
        """INSERT INTO jobservice.job_info (id, tenant, queue, job_class, status, queued_date)
           SELECT jobservice.new_job_id(), 't' || n % 100, 'default', 'Nap', 'QUEUED', now()
           FROM generate_series(1, 100000) n"""
    )
    claimer = Claimer(daemon_id=daemon, schema="jobservice", submissions_published=False)

    claim = await claimer.claim(connection, queue="default", slots=7, skipped_classes=(), charges={})

    assert len(claim.jobs) == 7
    assert claim.committed is not None
    assert (len(claim.committed.facts), len(claim.committed.cards)) == (7, 7)


async def test_results_of_a_megabyte_are_written_a_few_at_a_time_and_not_kept(
    connection: asyncpg.Connection, daemon: UUID, writer_of: WriterOf
) -> None:
    writer, told = writer_of(daemon)
    jobs = [await make_job(connection, JobStatus.RUNNING, daemon=daemon) for _ in range(20)]
    for job in jobs:
        writer.finish(held_run(job, 1), Succeeded(result=f'"{MEGABYTE * "x"}"'))

    while writer.waiting:
        await writer.run_once()

    assert max(len(committed.facts) for committed in told.committed) <= RESULTS_AT_ONCE // MEGABYTE
    assert {size for committed in told.committed for size in map(len, committed.results.values())} == {0}
    stored = await connection.fetch("SELECT status, length(result::text) AS length FROM jobservice.job_info")
    assert {(row["status"], row["length"]) for row in stored} == {("SUCCEEDED", MEGABYTE + 2)}
    assert len(stored) == 20


async def test_one_result_larger_than_a_flush_is_written_alone(
    connection: asyncpg.Connection, daemon: UUID, writer_of: WriterOf
) -> None:
    writer, told = writer_of(daemon)
    large, small = [await make_job(connection, JobStatus.RUNNING, daemon=daemon) for _ in range(2)]
    writer.finish(held_run(large, 1), Succeeded(result=f'"{(RESULTS_AT_ONCE + 1) * "x"}"'))
    writer.finish(held_run(small, 1), Succeeded(result="1"))

    while writer.waiting:
        await writer.run_once()

    assert [[fact.job_id for fact in committed.facts] for committed in told.committed] == [[large], [small]]


async def test_a_result_that_an_event_may_hold_is_kept_for_it(
    connection: asyncpg.Connection, daemon: UUID, writer_of: WriterOf
) -> None:
    writer, told = writer_of(daemon)
    job = await make_job(connection, JobStatus.RUNNING, daemon=daemon)
    result = f'"{(RESULT_TOLD - 2) * "x"}"'

    writer.finish(held_run(job, 1), Succeeded(result=result))
    await writer.run_once()

    assert told.committed[0].results == {job: result}


def committed(row: int, *, facts: int, result: str | None = None) -> Committed:
    ids = [UUID(int=row * 1000 + n) for n in range(facts)]
    return Committed(
        outbox_id=row,
        facts=tuple(
            Fact(each, 4, 1, 1, JobStatus.SUCCEEDED, JobStatus.RUNNING, datetime(2026, 1, 1, tzinfo=UTC), 0, 100, None)
            for each in ids
        ),
        cards={each: JobCard(job_id=each, tenant="t", queue="q", job_class="Nap") for each in ids},
        results=dict.fromkeys(ids, result) if result is not None else {},
    )


def relay() -> Relay:
    """Of a daemon whose broker is away: nothing that it is offered leaves it."""
    parts: Any = {"session": None, "outbox": None, "publisher": None}
    return Relay(
        daemon_id=UUID(int=1), result_max_bytes=65_536, confirm=lambda row: None, wake=lambda: None, **parts
    )  # fmt: skip


@pytest.mark.parametrize("facts", [1, 300])
async def test_events_beyond_a_number_are_left_to_the_outbox(facts: int) -> None:
    away = relay()
    rows = FACTS_IN_MEMORY // facts

    for row in range(rows):
        away.offer(committed(row, facts=facts))
    held = [row for row in range(rows) if away.holds(row)]
    away.offer(committed(rows, facts=facts + FACTS_IN_MEMORY % facts))

    assert len(held) == rows
    assert away.behind
    assert [row for row in range(rows + 1) if away.holds(row)] == held, "what came before is published first"


async def test_events_with_results_beyond_a_size_are_left_to_the_outbox() -> None:
    away = relay()
    result = 60_000 * "x"
    most = RESULTS_IN_MEMORY // len(result)

    for row in range(most):
        away.offer(committed(row, facts=1, result=result))
    assert not away.behind
    away.offer(committed(most, facts=1, result=result))

    assert away.behind
    assert [row for row in range(most + 1) if away.holds(row)] == list(range(most))
