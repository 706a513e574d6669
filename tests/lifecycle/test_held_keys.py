"""A client whose open transaction holds a concurrency key holds up the jobs of that key, and nothing else."""

import json
from typing import Any

import asyncpg
from factory import SETTLER, make_daemon, make_job

from jobservice.lifecycle.claim import Claimer
from jobservice.lifecycle.upkeep import Upkeep

HELD, FREE = ("acme", "held"), ("acme", "free")
MANY = 1500
"""More than one claim looks at."""


async def test_keys_that_nobody_holds_are_released_at_once_and_one_that_a_client_held_by_the_next_look(
    connection: asyncpg.Connection, connect: Any
) -> None:
    claimer = Claimer(daemon_id=await make_daemon(connection), schema="jobservice", submissions_published=False)
    jobs = [await make_job(connection, concurrency_key=key, blocked=True) for _, key in (HELD, FREE)]
    client = await connect()
    await connection.execute("SET lock_timeout = '10s'")

    async def claimed() -> list[Any]:
        claim = await claimer.claim(connection, queue="default", slots=5, skipped_classes=(), charges={})
        return [job.card.job_id for job in claim.jobs]

    async with client.transaction():
        await client.execute("UPDATE jobservice.concurrency_key SET max_running = 2 WHERE key = 'held'")
        await claimer.unblock(connection, [HELD, FREE])
        assert await claimed() == [jobs[1]]
    upkeep = Upkeep(schema="jobservice", follower=SETTLER)
    await claimer.unblock(connection, await upkeep.blocked_keys(connection))

    assert await claimed() == [jobs[0]]
    assert await connection.fetchval("SHOW lock_timeout") == "10s"


async def test_the_many_jobs_of_a_key_that_a_client_holds_stand_before_no_others_of_their_tenant(
    connection: asyncpg.Connection, connect: Any
) -> None:
    claimer = Claimer(daemon_id=await make_daemon(connection), schema="jobservice", submissions_published=False)
    keyed = [{"job_class": "Nap", "tenant": "acme", "concurrency_key": "held"}] * MANY
    await connection.execute("SELECT count(*) FROM jobservice.submit($1::text::jsonb)", json.dumps(keyed))
    other = await make_job(connection, tenant="acme", priority=-100)
    client = await connect()

    async def claimed() -> list[Any]:
        for _ in range(5):  # a daemon's scheduler asks again as often
            claim = await claimer.claim(connection, queue="default", slots=5, skipped_classes=(), charges={})
            if claim.jobs:
                return [job.card.job_id for job in claim.jobs]
        return []

    async with client.transaction():
        await client.execute("UPDATE jobservice.concurrency_key SET max_running = 2 WHERE key = 'held'")
        assert await claimed() == [other]
    upkeep = Upkeep(schema="jobservice", follower=SETTLER)
    await claimer.unblock(connection, await upkeep.blocked_keys(connection))

    assert len(await claimed()) == 2
