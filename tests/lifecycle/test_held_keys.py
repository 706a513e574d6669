"""A client whose open transaction holds a concurrency key holds up the jobs of that key, and nothing else."""

from typing import Any

import asyncpg
from factory import SETTLER, make_daemon, make_job

from jobservice.lifecycle.claim import Claimer
from jobservice.lifecycle.upkeep import Upkeep

HELD, FREE = ("acme", "held"), ("acme", "free")


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
