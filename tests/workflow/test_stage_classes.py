"""Whether a stage's job class is known when the stage comes, not only when its jobs are claimed."""

import json
from typing import Any

import asyncpg
import pytest
from factory import make_daemon

MISSPELT = {"name": "process", "job_class": "Npa", "jobs": [{}]}


async def submit(connection: asyncpg.Connection, *stages: dict[str, Any], **fields: Any) -> None:
    pipeline = {"name": "create-map", "stages": stages, **fields}
    await connection.execute("SELECT jobservice.submit_pipeline($1::text::jsonb)", json.dumps(pipeline))


async def count(connection: asyncpg.Connection) -> int:
    return await connection.fetchval("SELECT count(*) FROM jobservice.pipeline") or 0


async def test_a_stage_of_a_class_that_no_living_daemon_knows_is_refused_by_name_and_nothing_is_stored(
    connection: asyncpg.Connection,
) -> None:
    await make_daemon(connection)

    with pytest.raises(asyncpg.InvalidParameterValueError, match="Npa is known to no living daemon") as caught:
        await submit(connection, {"name": "first", "job_class": "Nap", "jobs": [{}]}, MISSPELT)

    assert json.loads(caught.value.detail)["code"] == "unknown_class"
    assert json.loads(caught.value.detail)["field"] == "stages[1].job_class"
    assert await count(connection) == 0


async def test_a_stage_that_is_added_later_is_asked_for_its_class_too(connection: asyncpg.Connection) -> None:
    await make_daemon(connection)
    await submit(connection, {"job_class": "Nap", "jobs": [{}]}, open=True)
    pipeline = await connection.fetchval("SELECT id FROM jobservice.pipeline")

    with pytest.raises(asyncpg.InvalidParameterValueError, match="Npa is known to no living daemon"):
        await connection.execute("SELECT jobservice.add_stages($1, $2::text::jsonb)", pipeline, json.dumps([MISSPELT]))

    assert await connection.fetchval("SELECT count(*) FROM jobservice.stage") == 1


@pytest.mark.parametrize("ended", ["lost_at", "stopped_at"])
async def test_without_a_living_daemon_of_its_queue_any_class_is_taken(
    connection: asyncpg.Connection, ended: str
) -> None:
    await make_daemon(connection, ended=ended)
    await make_daemon(connection, queues=("elsewhere",))

    await submit(connection, MISSPELT)

    assert await count(connection) == 1


async def test_a_class_that_a_daemon_of_another_queue_knows_is_taken(connection: asyncpg.Connection) -> None:
    """Its jobs may be given that queue."""
    await make_daemon(connection)
    await make_daemon(connection, queues=("elsewhere",), job_classes=("Npa",))

    await submit(connection, MISSPELT)

    assert await count(connection) == 1
