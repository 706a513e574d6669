"""A plan that was made while a table was empty stays good when it is full.

A daemon's plans are made once (`PINNED_PLANS`). After a quiet night an analysed table may be empty: then any way
through it costs the planner the same, and one that reads all of it is as good as one by its key, until it is analysed.
"""

import json
import re
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import asyncpg
import pytest

from jobservice.store.session import PINNED_PLANS
from jobservice.store.sql import load

ROOT = Path(__file__).parents[2] / "jobservice"
BY_KEY = {
    "lifecycle/flush.sql": ("flush", "advance", "standing"),
    "lifecycle/claim.sql": ("stages_of",),
    "lifecycle/upkeep.sql": ("enqueue_due", "expire", "clean"),
    "lifecycle/commands.sql": ("stop", "enqueue", "restart", "update_waiting", "as_submission", "link_rerun"),
    "schedules/schedules.sql": ("moment",),
    "steps/steps.sql": ("checkpoint", "end_step", "finish_instance"),
    "store/daemons.sql": ("live_jobs",),
    "store/job_reader.sql": ("get_jobs", "status_of", "runs_of"),
    "store/outbox.sql": ("cards",),
    "store/pipeline_reader.sql": ("get_pipelines", "positions_of", "status_of_pipeline"),
}
LARGE = ("job_info", "pipeline", "job_run", "idempotency_key")


@pytest.fixture
async def connection(database_url: str) -> AsyncIterator[asyncpg.Connection]:
    """A session as a daemon has it, on tables that are empty and known to be."""
    connection = await asyncpg.connect(database_url, server_settings=PINNED_PLANS)
    await connection.execute("VACUUM ANALYZE")
    yield connection
    await connection.close()


async def scans_of_large_tables(connection: asyncpg.Connection, sql: str) -> list[dict[str, Any]]:
    count = max((int(number) for number in re.findall(r"\$(\d+)", sql)), default=0)
    arguments = f"({', '.join(['NULL'] * count)})" if count else ""
    await connection.execute(f"PREPARE looked AS {sql}")
    told = await connection.fetchval(f"EXPLAIN (FORMAT JSON) EXECUTE looked{arguments}")
    return [node for node in nodes(json.loads(told)[0]["Plan"]) if node.get("Relation Name") in LARGE]


def nodes(plan: dict[str, Any]) -> Iterator[dict[str, Any]]:
    yield plan
    for child in plan.get("Plans", ()):
        yield from nodes(child)


@pytest.mark.parametrize(("file", "name"), [(file, name) for file, names in BY_KEY.items() for name in names])
async def test_what_names_rows_finds_them_by_an_index_even_if_it_was_planned_on_empty_tables(
    connection: asyncpg.Connection, file: str, name: str
) -> None:
    scans = await scans_of_large_tables(connection, getattr(load(ROOT / file), name).sql)

    read_through = [
        scan for scan in scans if "Scan" in scan["Node Type"] and not {"Index Cond", "Recheck Cond"} & scan.keys()
    ]
    assert not read_through


async def test_what_is_named_by_id_is_never_searched_for_through_all_tenants(
    connection: asyncpg.Connection,
) -> None:
    for file, names in BY_KEY.items():
        for name in names:
            scans = await scans_of_large_tables(connection, getattr(load(ROOT / file), name).sql)
            await connection.execute("DEALLOCATE looked")

            assert not {"job_info_of_tenant", "pipeline_of_tenant"} & {scan.get("Index Name") for scan in scans}, name
