"""A backlog of which the planner knows nothing: it came since the last ANALYZE, onto a table that was nearly empty."""

import json
from uuid import UUID

import asyncpg
import pytest

BACKLOG = 4_000
ROUNDS = 12
SUBMIT = "SELECT count(*) FROM jobservice.submit($1::text::jsonb)"
CLAIM = "SELECT id FROM jobservice.claim('default', 10, $1, '{}', '{}', '{}')"
END = """
    UPDATE jobservice.job_info SET status = 'SUCCEEDED', start_date = now(), stop_date = now(), percent_completed = 100
    WHERE id = ANY ($1)"""
READ = "SELECT pg_stat_get_xact_tuples_returned('jobservice.job_info_claimable'::regclass)"


async def submit(connection: asyncpg.Connection, tenant: str, jobs: int = 1) -> None:
    await connection.execute(SUBMIT, json.dumps([{"job_class": "Nap", "tenant": tenant}] * jobs))


async def claim(connection: asyncpg.Connection, daemon: UUID) -> int:
    """One claim, whose jobs have ended afterwards; how many entries of the claims' index it read."""
    async with connection.transaction():
        before = await connection.fetchval(READ)
        rows = await connection.fetch(CLAIM, daemon)
        read = await connection.fetchval(READ) - before
        await connection.execute(END, [row["id"] for row in rows])
    return int(read)


@pytest.mark.parametrize("paused", [False, True])
async def test_a_claim_reads_no_more_of_a_backlog_that_was_never_analysed(
    connection: asyncpg.Connection, daemon: UUID, paused: bool
) -> None:
    await connection.execute("ALTER TABLE jobservice.job_info SET (autovacuum_enabled = off)")
    await connection.execute("INSERT INTO jobservice.tenant (tenant, paused) VALUES ('hot', $1)", paused)
    for round_ in range(ROUNDS):
        await submit(connection, f"light{round_ % 3}")
        await claim(connection, daemon)
    await submit(connection, "hot", BACKLOG)

    read = []
    for round_ in range(ROUNDS):
        await submit(connection, f"light{round_ % 3}")
        read.append(await claim(connection, daemon))

    assert max(read) < BACKLOG / 10, read
