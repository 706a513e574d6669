"""Lists stay cheap on a big table: a page reads an index backwards, whatever the planner has learned to expect."""

from collections.abc import AsyncIterator
from pathlib import Path

import asyncpg
import pytest

from jobservice.store import job_reader
from jobservice.store.sql import load

JOBS, TENANTS, PAGE = 20_000, 200, 50


@pytest.fixture
async def connection(database_url: str) -> AsyncIterator[asyncpg.Connection]:
    """A database with many ended jobs."""
    connection = await asyncpg.connect(database_url)
    await connection.execute(
        "INSERT INTO jobservice.job_info"
        " (id, tenant, queue, job_class, status, stop_date, start_date, percent_completed)"
        f" SELECT jobservice.new_job_id(), 't' || n % {TENANTS}, 'default', 'Nap', 'SUCCEEDED', now(), now(), 100"
        f" FROM generate_series(1, {JOBS}) n"
    )
    await connection.execute("ANALYZE jobservice.job_info")
    yield connection
    await connection.close()


async def plan(connection: asyncpg.Connection, name: str, *arguments: str) -> str:
    query = getattr(load(Path(job_reader.__file__).with_suffix(".sql")), name)
    await connection.execute(f"PREPARE looked AS {query.sql}")
    execute = f"EXECUTE looked ({', '.join(arguments)})"
    for _ in range(10):  # after five, PostgreSQL considers one plan for all callers
        await connection.fetch(execute)
    rows = await connection.fetch(f"EXPLAIN (ANALYZE, COSTS OFF) {execute}")
    return "\n".join(row[0] for row in rows)


@pytest.mark.parametrize(
    ("name", "arguments", "index"),
    [
        ("find_job_ids", [], "job_info_pkey"),
        ("find_job_ids_of_tenant", ["'t7'"], "job_info_of_tenant"),
    ],
)
async def test_a_page_touches_about_as_many_rows_as_it_shows(
    connection: asyncpg.Connection, name: str, arguments: list[str], index: str
) -> None:
    told = await plan(connection, name, *arguments, *["NULL"] * 6, str(PAGE))

    assert f"Index Scan Backward using {index}" in told or f"Index Only Scan Backward using {index}" in told
    assert "Seq Scan" not in told
    assert "Sort" not in told
