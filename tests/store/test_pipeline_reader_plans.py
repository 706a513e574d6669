"""What is read of pipelines stays cheap in a big table: pages by an index, counts from the index of a stage's jobs."""

import re
from collections.abc import AsyncIterator
from pathlib import Path
from uuid import UUID

import asyncpg
import pytest

from jobservice.store import pipeline_reader
from jobservice.store.sql import load

PIPELINES, TENANTS, PAGE = 10_000, 100, 50
STAGES, JOBS_OF_EACH, WAITING = 20, 2_000, 5
STATUSES = "ARRAY['PENDING', 'QUEUED', 'TO_BE_RUN', 'RUNNING', 'SUCCEEDED', 'FAILED', 'ABORTED']"

FILL = f"""
INSERT INTO jobservice.pipeline (id, tenant, name, queue, status, stop_date)
SELECT jobservice.new_job_id(), 't' || n % {TENANTS}, 'p', 'default', 'SUCCEEDED', now() FROM generate_series(1, {PIPELINES}) n;
INSERT INTO jobservice.stage (id, pipeline_id, position, name, status, stop_date)
SELECT jobservice.new_job_id(), p.id, n, 's', 'SUCCEEDED', now() FROM jobservice.pipeline p, generate_series(1, 2) n;
INSERT INTO jobservice.job_info (id, tenant, queue, job_class, status, stop_date, start_date, percent_completed, stage_id)
SELECT jobservice.new_job_id(), 't', 'default', 'Nap', 'SUCCEEDED', now(), now(), 100, s.id
FROM (SELECT id FROM jobservice.stage ORDER BY id LIMIT {STAGES}) s, generate_series(1, {JOBS_OF_EACH});
INSERT INTO jobservice.job_info (id, tenant, queue, job_class, status, queued_date, stage_id)
SELECT jobservice.new_job_id(), 't', 'default', 'Nap', 'QUEUED', now(), s.id
FROM (SELECT id FROM jobservice.stage ORDER BY id LIMIT {STAGES}) s, generate_series(1, {WAITING});
"""  # noqa: E501


@pytest.fixture
async def connection(database_url: str) -> AsyncIterator[asyncpg.Connection]:
    """A database with many ended pipelines, and a few stages with many jobs."""
    connection = await asyncpg.connect(database_url)
    await connection.execute(FILL)
    await connection.execute("VACUUM ANALYZE jobservice.job_info")
    await connection.execute("ANALYZE jobservice.pipeline, jobservice.stage")
    yield connection
    await connection.close()


async def plan(connection: asyncpg.Connection, name: str, *arguments: str) -> str:
    query = getattr(load(Path(pipeline_reader.__file__).with_suffix(".sql")), name)
    await connection.execute("DEALLOCATE ALL")
    await connection.execute(f"PREPARE looked AS {query.sql}")
    execute = f"EXECUTE looked ({', '.join(arguments)})"
    for _ in range(10):  # after five, PostgreSQL considers one plan for all callers
        await connection.fetch(execute)
    rows = await connection.fetch(f"EXPLAIN (ANALYZE, COSTS OFF, TIMING OFF) {execute}")
    return "\n".join(row[0] for row in rows)


def scans(told: str) -> list[tuple[str, range]]:
    """The indexes that were read, and how many rows each scan gave: before 18 it is told rounded, of each loop."""
    found = re.findall(r"(?:Scan|Backward) (?:Backward )?(?:using|on) (\w+).*?rows=([\d.]+) loops=(\d+)", told)
    return [(index, _about(float(rows) * int(loops), int(loops) // 2)) for index, rows, loops in found]


def _about(rows: float, error: int) -> range:
    return range(round(rows) - error, round(rows) + error + 1)


async def test_a_page_touches_about_as_many_rows_as_it_shows(connection: asyncpg.Connection) -> None:
    for name, tenant, index in (
        ("find_pipeline_ids", [], "pipeline_pkey"),
        ("find_pipeline_ids_of_tenant", ["'t7'"], "pipeline_of_tenant"),
    ):
        told = await plan(connection, name, *tenant, *["NULL"] * 4, str(PAGE))

        assert scans(told) == [(index, range(PAGE, PAGE + 1))], told
        assert ("Seq Scan" in told, "Sort" in told) == (False, False), told


async def test_waiting_jobs_are_counted_from_the_index_without_the_ended_ones(connection: asyncpg.Connection) -> None:
    pipelines = [row["pipeline_id"] for row in await connection.fetch(
        f"SELECT DISTINCT pipeline_id FROM (SELECT pipeline_id FROM jobservice.stage ORDER BY id LIMIT {STAGES}) s"
    )]  # fmt: skip
    wanted = "ARRAY[" + ", ".join(f"'{each}'" for each in pipelines) + "]::uuid[]"

    told = await plan(connection, "get_stages", "true", wanted, "'{}'")

    counted = [rows for index, rows in scans(told) if index == "job_info_stage"]
    assert [STAGES * WAITING in rows for rows in counted] == [True], told
    assert "Seq Scan" not in told


async def test_what_is_asked_after_each_verb_reads_the_rows_that_it_is_about(connection: asyncpg.Connection) -> None:
    row = await connection.fetchrow("SELECT id, pipeline_id FROM jobservice.stage ORDER BY id LIMIT 1")
    assert row is not None
    pipelines, stages = f"ARRAY['{row['pipeline_id']}']::uuid[]", f"ARRAY['{row['id']}']::uuid[]"

    for name, arguments in (
        ("unsettled_of", [pipelines, "'{}'"]),
        ("unsettled_of", ["'{}'", stages]),
        ("get_stages", ["false", pipelines, "'{}'"]),
        ("get_stages", ["false", "'{}'", stages]),
        ("status_of_pipeline", [f"'{row['pipeline_id']}'"]),
    ):
        told = await plan(connection, name, *arguments)

        assert ("Seq Scan" in told, "Scan on job_info" in told.replace("never executed", "")) == (False, False), told


async def test_a_page_of_a_stages_jobs_reads_a_page_of_each_status(connection: asyncpg.Connection) -> None:
    stage: UUID = await connection.fetchval("SELECT id FROM jobservice.stage ORDER BY id LIMIT 1")

    told = await plan(connection, "job_ids_of_stage", STATUSES, f"'{stage}'", "NULL", str(PAGE))

    assert any(index == "job_info_stage" and PAGE + WAITING in rows for index, rows in scans(told)), told
    assert "Seq Scan on job_info" not in told
