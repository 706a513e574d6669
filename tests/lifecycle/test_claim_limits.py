"""Limits are exact, whoever claims at the same time: never one too many, never one job twice, and no slot is wasted."""

import asyncio
from collections import Counter
from collections.abc import Sequence
from typing import Any
from uuid import UUID

import asyncpg
import pytest
from factory import SETTLER, make_daemon

from jobservice.lifecycle.claim import Claim, Claimer
from jobservice.lifecycle.limits import Limits
from jobservice.lifecycle.upkeep import Upkeep

CLAIMERS = 8
QUEUES = ("default", "other")


class Crowd:
    """Daemons that claim at the same time, each on its own session."""

    def __init__(self, sessions: Sequence[asyncpg.Connection], daemons: Sequence[UUID]) -> None:
        self.sessions = sessions
        self.claimers = [Claimer(daemon_id=d, schema="jobservice", submissions_published=False) for d in daemons]
        self.runs: Counter[tuple[UUID, int]] = Counter()

    async def claim(self, *, slots: int, queues: Sequence[str] = ("default",)) -> int:
        """All at once, one claim each, the queues in turn; how many jobs that brought."""
        claims = [
            claimer.claim(session, queue=queues[n % len(queues)], slots=slots, skipped_classes=(), charges={})
            for n, (claimer, session) in enumerate(zip(self.claimers, self.sessions, strict=True))
        ]
        answers: list[Claim] = await asyncio.gather(*claims)
        jobs = [job for answer in answers for job in answer.jobs]
        self.runs.update((job.card.job_id, job.run) for job in jobs)
        return len(jobs)


@pytest.fixture
async def crowd(connection: asyncpg.Connection, connect: Any) -> Crowd:
    daemons = [await make_daemon(connection, queues=QUEUES) for _ in range(CLAIMERS)]
    return Crowd([await connect() for _ in range(CLAIMERS)], daemons)


async def fill(
    connection: asyncpg.Connection, jobs: int, *, tenant: str = "acme", queue: str = "default", key: str | None = None
) -> None:
    """Queued jobs, many at once."""
    await connection.execute(
        """INSERT INTO jobservice.job_info (id, tenant, queue, job_class, status, queued_date, concurrency_key)
           SELECT gen_random_uuid(), $1, $2, 'Nap', 'QUEUED', now(), $3 FROM generate_series(1, $4)""",
        tenant, queue, key, jobs,
    )  # fmt: skip
    if key is not None:
        await connection.execute(
            "INSERT INTO jobservice.concurrency_key VALUES ($1, $2) ON CONFLICT DO NOTHING", tenant, key
        )


async def live(connection: asyncpg.Connection, condition: str = "true") -> int:
    found: int = await connection.fetchval(
        f"SELECT count(*) FROM jobservice.job_info WHERE status IN ('TO_BE_RUN', 'RUNNING') AND {condition}"
    )
    return found


async def end_some(connection: asyncpg.Connection, jobs: int) -> None:
    await connection.execute(
        """UPDATE jobservice.job_info SET status = 'ABORTED', stop_date = now() WHERE id IN (
             SELECT id FROM jobservice.job_info WHERE status IN ('TO_BE_RUN', 'RUNNING') ORDER BY random() LIMIT $1)""",
        jobs,
    )


async def test_no_job_is_claimed_twice_and_none_is_left(connection: asyncpg.Connection, crowd: Crowd) -> None:
    for tenant in ("acme", "bolt", "core"):
        await fill(connection, 100, tenant=tenant)

    while await crowd.claim(slots=7):
        pass

    assert len(crowd.runs) == 300
    assert set(crowd.runs.values()) == {1}
    assert await live(connection) == 300


LIMITS = {
    "queue": ("queue = 'default'", lambda c, n: Limits().set_queue(c, "default", max_running=n)),
    "tenant": ("tenant = 'acme'", lambda c, n: Limits().set_tenant(c, "acme", max_running=n)),
    "share": (
        "tenant = 'acme' AND queue = 'default'",
        lambda c, n: Limits().set_share(c, "default", "acme", max_running=n),
    ),
    "key": (
        "concurrency_key = 'k'",
        lambda c, n: c.execute("UPDATE jobservice.concurrency_key SET max_running = $1", n),
    ),
}


@pytest.mark.parametrize("limit", LIMITS)
async def test_a_limit_is_reached_and_never_exceeded_by_eight_claims_at_once(
    connection: asyncpg.Connection, crowd: Crowd, limit: str
) -> None:
    limited, set_limit = LIMITS[limit]
    for queue in QUEUES:
        await fill(connection, 200, queue=queue, key="k" if limit == "key" else None)
    await set_limit(connection, 5)

    for n in range(25):
        await crowd.claim(slots=3, queues=QUEUES)

        assert await live(connection, limited) <= 5
        await unblock(connection)
        await crowd.claim(slots=10, queues=QUEUES)
        await settle(connection, crowd)
        assert await live(connection, limited) == 5
        await end_some(connection, 1 + n % 4)


async def unblock(connection: asyncpg.Connection) -> None:
    """What each daemon's upkeep does every second."""
    claimer = Claimer(daemon_id=UUID(int=1), schema="jobservice", submissions_published=False)
    await claimer.unblock(connection, await Upkeep(schema="jobservice", follower=SETTLER).blocked_keys(connection))


async def settle(connection: asyncpg.Connection, crowd: Crowd) -> None:
    """Claims until nothing more is to be had: what one claim leaves to another is there for the next look."""
    for _ in range(5):
        await unblock(connection)
        await crowd.claim(slots=10, queues=QUEUES)
