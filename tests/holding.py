"""Who claims jobs, holds and releases classes, pauses and resumes pipelines; a conftest imports the fixture."""

import json
from typing import Any
from uuid import UUID

import asyncpg
import pytest
from factory import make_daemon

from jobservice.lifecycle.claim import Claimer
from jobservice.lifecycle.class_holds import ClassHolds

HOLDS = ClassHolds()


class Hand:
    """Who claims, holds and releases, on one connection."""

    def __init__(self, connection: asyncpg.Connection, daemon: UUID) -> None:
        self.connection = connection
        self.claimer = Claimer(daemon_id=daemon, schema="jobservice", submissions_published=False)

    async def claim(self, *, slots: int = 10, queue: str = "default") -> list[UUID]:
        claim = await self.claimer.claim(self.connection, queue=queue, slots=slots, skipped_classes=(), charges={})
        return [job.card.job_id for job in claim.jobs]

    async def hold(self, job_class: str = "Nap", reason: str | None = None) -> bool:
        return await HOLDS.hold(self.connection, job_class, reason=reason)

    async def release(self, job_class: str = "Nap") -> bool:
        return await HOLDS.release(self.connection, job_class)

    async def pipeline(self, *jobs: dict[str, Any]) -> UUID:
        tree = {"name": "waves", "tenant": "acme", "stages": [{"jobs": list(jobs)}]}
        found = await self.connection.fetchval(
            "SELECT pipeline_id FROM jobservice.submit_pipeline($1::text::jsonb)", json.dumps(tree)
        )
        return UUID(str(found))

    async def jobs_of(self, pipeline: UUID) -> list[UUID]:
        rows = await self.connection.fetch(
            "SELECT id FROM jobservice.job_info WHERE pipeline_id = $1 ORDER BY number", pipeline
        )
        return [row["id"] for row in rows]

    async def command(self, verb: str, pipeline: UUID) -> None:
        accepted = await self.connection.fetchval(
            "SELECT accepted FROM jobservice.command_pipelines(ARRAY[$1::uuid], $2)", pipeline, verb
        )
        assert accepted

    async def put_aside(self) -> set[UUID]:
        rows = await self.connection.fetch("SELECT id FROM jobservice.job_info WHERE on_hold")
        return {row["id"] for row in rows}


@pytest.fixture
async def hand(connection: asyncpg.Connection) -> Hand:
    return Hand(connection, await make_daemon(connection, queues=("default", "other")))
