"""The control door as a foreign client finds it, and the jobs it commands; a conftest imports the fixtures."""

import json
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any
from uuid import UUID

import asyncpg
import pytest
from doors import Consume, Foreign

from jobservice.broker.consumer import GroupConsumer
from jobservice.broker.names import BrokerNames
from jobservice.control.door import ControlDoor
from jobservice.store.session import Session

Ask = Callable[..., Awaitable[Any]]
OpenDoor = Callable[[], Awaitable[GroupConsumer]]


class Drains:
    """What was told to drain."""

    def __init__(self) -> None:
        self.told: list[UUID | None] = []

    async def __call__(self, daemon_id: UUID | None) -> None:
        self.told.append(daemon_id)


@pytest.fixture
def drains() -> Drains:
    return Drains()


@pytest.fixture
def open_door(session: Session, consume: Consume, names: BrokerNames, drains: Drains) -> OpenDoor:
    """Begins to take commands."""
    door = ControlDoor(session=session, schema="jobservice", drain=drains)
    return partial(consume, names.control, door)


@pytest.fixture
async def ask(open_door: OpenDoor, foreign: Foreign) -> Ask:
    """Sends one command and gives its answer."""
    await open_door()

    async def ask(key: str, command: object, **properties: Any) -> Any:
        return await foreign.answer(foreign.send(foreign.names.command, key, command, **properties))

    return ask


async def a_job(connection: asyncpg.Connection, status: str = "QUEUED", **fields: Any) -> str:
    """A job as it would be after its life so far."""
    submitted = {"job_class": "ChecksumTree", "tenant": "acme", **fields}
    if status == "PENDING":
        submitted["status"] = status
    job_id = await connection.fetchval("SELECT job_id FROM jobservice.submit($1::text::jsonb)", json.dumps(submitted))
    if status == "RUNNING":
        await connection.execute(
            "UPDATE jobservice.job_info SET status = 'RUNNING', run = 1, daemon_id = gen_random_uuid(), "
            "claim_date = now(), start_date = now() WHERE id = $1",
            job_id,
        )
    if status == "FAILED":
        await connection.execute(
            "UPDATE jobservice.job_info SET status = 'FAILED', run = 1, stop_date = now(), error_message = 'x' "
            "WHERE id = $1",
            job_id,
        )
    return str(job_id)


async def row(connection: asyncpg.Connection, job_id: str) -> asyncpg.Record:
    found = await connection.fetchrow("SELECT * FROM jobservice.job_info WHERE id = $1::text::uuid", job_id)
    assert found is not None
    return found
