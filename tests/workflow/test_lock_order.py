"""Pipelines, the jobs in them and the parts of these jobs are locked in one order: whoever meets, nobody deadlocks."""

import asyncio
import json
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from random import Random
from typing import Any
from uuid import UUID

import asyncpg
import pytest
from crew import NO, Crew
from factory import HeldRun
from pipe_books import check_books, standing, submit

from jobservice.domain.outcomes import Parked, Succeeded
from jobservice.lifecycle import flushing

ROUNDS = 200
HOLD = "SELECT FROM jobservice.pipeline WHERE id = $1 FOR NO KEY UPDATE"
INSTANCE = UUID(int=7)
PLAN = Parked(
    json.dumps(
        {"instance_id": str(INSTANCE), "step": "copy", "epoch": "1", "max_attempts": 1, "parameters": {},
         "parts": [{"low": 0, "high": 1, "expected": 1}]}
    )
)  # fmt: skip


@dataclass
class Family:
    """A pipeline of two jobs, the first of which waits for a part of itself, and another pipeline, made last."""

    crew: Crew
    client: asyncpg.Connection
    pipeline: UUID
    parent: HeldRun
    other: HeldRun
    parts: UUID
    part: HeldRun
    later: UUID

    async def stop_parent(self) -> None:
        await self.client.execute("SELECT jobservice.stop($1)", self.parent.job_id)

    async def stop_pipelines(self) -> None:
        await self.client.execute(COMMAND, [self.pipeline, self.later], "stop", None)

    async def stop_parts_and_later(self) -> None:
        await self.crew.connection.execute(COMMAND, [self.parts, self.later], "stop", None)

    async def tell_pipelines(self) -> None:
        await self.client.execute(COMMAND, [self.pipeline, self.parts], "update_metadata", '{"a": 1}')

    async def end_part_and_other(self) -> None:
        await self.crew.end([self.part, self.other])

    async def park_again(self) -> None:
        await self.crew.end([self.parent], PLAN)


COMMAND = "SELECT jobservice.command_pipelines($1, $2, $3::text::jsonb)"
Deed = Callable[[Family], Awaitable[None]]


async def a_family(crew: Crew, client: asyncpg.Connection) -> Family:
    hands = crew.connection
    await hands.execute(
        """DELETE FROM jobservice.job_info; DELETE FROM jobservice.pipeline; DELETE FROM jobservice.pipeline_outbox;
           DELETE FROM jobservice.outbox; DELETE FROM jobservice.job_instance; DELETE FROM jobservice.job_run"""
    )
    await hands.execute(
        """INSERT INTO jobservice.job_instance (id, tenant, job_class, key, parameters)
           VALUES ($1, 'default', 'Nap', 'k', '{}')""",
        INSTANCE,
    )
    pipeline = await submit(hands, 2)
    parent, other = await crew.claim()
    await crew.start([parent, other])
    await crew.end([parent], PLAN)
    parts = await hands.fetchval("SELECT id FROM jobservice.pipeline WHERE parent_job = $1", parent.job_id)
    (part,) = await crew.claim()
    return Family(crew, client, pipeline, parent, other, parts, part, await submit(hands, 1))


async def a_family_whose_part_has_failed(crew: Crew, client: asyncpg.Connection) -> Family:
    family = await a_family(crew, client)
    await crew.end([family.part], NO)
    await crew.connection.execute(COMMAND, [family.later], "stop", None)
    (family.parent,) = await crew.claim()
    return family


async def deadlocks(sessions: list[asyncpg.Connection], watcher: asyncpg.Connection) -> int:
    for session in sessions:
        await session.execute("SELECT pg_stat_force_next_flush()")
        await session.execute("SELECT 1")
    await watcher.execute("SELECT pg_stat_clear_snapshot()")
    count: int = await watcher.fetchval("SELECT deadlocks FROM pg_stat_database WHERE datname = current_database()")
    return count


async def waits_or_is_done(deed: Awaitable[None], session: asyncpg.Connection, watcher: asyncpg.Connection) -> Any:
    task = asyncio.ensure_future(deed)
    async with asyncio.timeout(60):
        while not task.done():
            if await watcher.fetchval("SELECT cardinality(pg_blocking_pids($1)) > 0", session.get_server_pid()):
                break
    return task


@pytest.fixture
async def client(crew: Crew, connect: Any) -> asyncpg.Connection:
    client: asyncpg.Connection = await connect()
    async with crew.session.use() as writing:
        for session in (client, crew.connection, writing):
            await session.execute("SET deadlock_timeout = '20ms'")
    return client


async def test_parts_that_a_client_holds_hold_up_the_job_that_lets_them_run_again_and_no_other(
    crew: Crew, connection: asyncpg.Connection, client: asyncpg.Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(flushing, "WAITS_AGAIN_AFTER", 1.5)
    family = await a_family_whose_part_has_failed(crew, client)
    free = await submit(connection, 1)
    runs = await crew.claim()

    async with connection.transaction():
        await connection.execute(HOLD, family.parts)
        crew.writer.finish(family.parent, PLAN)
        for run in runs:
            crew.writer.finish(run, Succeeded())
        await crew.writer.run_once()
        assert await standing(crew.connection, free) == ("SUCCEEDED", ["SUCCEEDED"])
        assert await standing(crew.connection, family.parts) == ("FAILED", ["FAILED"])
    async with asyncio.timeout(30):
        await crew.written()

    assert await standing(connection, family.parts) == ("QUEUED", ["QUEUED"])
    assert crew.told.stale_runs == []


FAMILIES = {"parted": a_family, "failed": a_family_whose_part_has_failed}
MEETINGS: dict[str, tuple[str, Deed, Deed]] = {
    "a stop of the job, ends of its part and of a sibling": ("parted", Family.stop_parent, Family.end_part_and_other),
    "a stop of its pipeline, one of its parts": ("parted", Family.stop_pipelines, Family.stop_parts_and_later),
    "the job lets its part run again, somebody changes both": ("failed", Family.tell_pipelines, Family.park_again),
}


async def test_whoever_meets_at_the_parts_of_jobs_in_whatever_order_nobody_deadlocks(
    crew: Crew, connection: asyncpg.Connection, client: asyncpg.Connection
) -> None:
    random = Random(7)
    async with crew.session.use() as writing:
        ...
    sessions = [client, crew.connection, writing]
    before = await deadlocks(sessions, connection)

    for _ in range(ROUNDS):
        kind, *deeds = MEETINGS[random.choice(list(MEETINGS))]
        family = await FAMILIES[kind](crew, client)
        random.shuffle(deeds)
        await asyncio.gather(*(deed(family) for deed in deeds))
        await crew.written()

    assert await deadlocks(sessions, connection) == before
    await crew.go_on()
    await check_books(connection)


@pytest.mark.parametrize("meeting", MEETINGS)
@pytest.mark.parametrize("turned", [False, True])
async def test_two_who_meet_at_the_parts_of_a_job_do_not_deadlock(
    crew: Crew, connection: asyncpg.Connection, client: asyncpg.Connection, meeting: str, turned: bool
) -> None:
    kind, theirs, mine = MEETINGS[meeting]
    family = await FAMILIES[kind](crew, client)
    async with crew.session.use() as writing:
        ...
    session = crew.connection if mine is Family.stop_parts_and_later else writing
    sides = [(theirs, client), (mine, session)]
    before = await deadlocks([client, crew.connection, writing], connection)

    async with connection.transaction():
        await connection.execute(HOLD, family.parts)
        tasks = [await waits_or_is_done(deed(family), s, connection) for deed, s in (sides[::-1] if turned else sides)]
    await asyncio.gather(*tasks)
    await crew.written()

    assert await deadlocks([client, crew.connection, writing], connection) == before
    await crew.go_on()
    await check_books(connection)
