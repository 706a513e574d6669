"""Every kind of limit, all at once, under four claimers that are killed in the middle of what they do.

Nobody counts while it happens. Afterwards the claims and ends that the rows tell of are laid out in time: at no moment
more jobs were live than a limit allowed, and at no moment more had started than a rate gives. JOBSERVICE_LIMIT_ROUNDS
sets the number of rounds.
"""

import asyncio
import json
import os
import random
from collections import defaultdict
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

import asyncpg
from databases import Connect
from factory import SETTLER, make_daemon

from jobservice.domain.rates import Rate
from jobservice.lifecycle.claim import Claimer
from jobservice.lifecycle.limits import Limits
from jobservice.lifecycle.rescue import Rescuer
from jobservice.lifecycle.upkeep import Upkeep
from jobservice.store.failures import CONNECTION_LOST

ROUNDS = int(os.environ.get("JOBSERVICE_LIMIT_ROUNDS", "50"))
CLAIMERS = 4
QUEUES = ("one", "two", "three")
TENANTS = ("acme", "bolt", "core", "dune")
KEYS = (None, "k1", "k2")
CLAIMS = 3
"""One after the other, by each claimer, in each round."""
QUEUED = 120
"""Jobs that wait at the beginning of each round."""

QUEUE_MAX = {"one": 6, "two": 12}
TENANT_MAX = {"acme": 6}
SHARE_MAX = {("one", "bolt"): 2, ("two", "bolt"): 4}
KEY_MAX = {"k1": 1, "k2": 3}
QUEUE_RATES = {"three": Rate(30, 1, 4), "two": Rate(100, 1, 10)}
TENANT_RATES = {"core": Rate(8, 1, 2)}
"""At once so few that one claim takes them all: however slowly the claims follow each other, rates hold some back."""


@dataclass
class Seat:
    """A claimer on a session of its own, which may be killed at any time, and the session that kills it."""

    connect: Connect
    books: asyncpg.Connection
    daemon: UUID
    session: asyncpg.Connection

    async def play(self, chance: random.Random, *, killed: bool) -> None:
        """Its claims of one round; the last thing that it does may be to be killed."""
        for n in range(CLAIMS):
            last = killed and n == CLAIMS - 1
            queue, slots = chance.choice(QUEUES), chance.randrange(1, 10)
            await self.claim(queue, slots, killed_after=chance.uniform(0, 0.02) if last else None)

    async def claim(self, queue: str, slots: int, *, killed_after: float | None) -> None:
        claimer = Claimer(daemon_id=self.daemon, schema="jobservice", submissions_published=False)
        pid = self.session.get_server_pid()
        asked = asyncio.ensure_future(
            claimer.claim(self.session, queue=queue, slots=slots, skipped_classes=(), charges={"acme": 0.1})
        )
        if killed_after is None:
            await asked
            return
        await asyncio.wait({asked}, timeout=killed_after)
        await self.books.execute("SELECT pg_terminate_backend($1)", pid)
        with suppress(asyncpg.PostgresError, *CONNECTION_LOST):
            await asked
        await self.die()

    async def die(self) -> None:
        """Lost with all that it claimed, heard of or not; another takes its seat."""
        self.session.terminate()
        await self.books.execute("UPDATE jobservice.daemon SET lost_at = clock_timestamp() WHERE id = $1", self.daemon)
        self.daemon = await make_daemon(self.books, queues=QUEUES)
        self.session = await self.connect()


async def set_limits(connection: asyncpg.Connection) -> None:
    limits = Limits()
    for queue in QUEUES:
        most, rate = QUEUE_MAX.get(queue), QUEUE_RATES.get(queue)
        await limits.set_queue(connection, queue, max_running=most, rate=rate)
    for tenant in TENANTS:
        await limits.set_tenant(connection, tenant, max_running=TENANT_MAX.get(tenant), rate=TENANT_RATES.get(tenant))
    for (queue, tenant), most in SHARE_MAX.items():
        await limits.set_share(connection, queue, tenant, max_running=most)
    for tenant in TENANTS:
        await limits.set_key(connection, tenant, "k2", max_running=KEY_MAX["k2"])


async def fill(connection: asyncpg.Connection, chance: random.Random) -> None:
    """Tops the backlog up, by the function that everybody submits with."""
    waiting = await connection.fetchval("SELECT count(*) FROM jobservice.job_info WHERE status = 'QUEUED'")
    jobs = []
    for _ in range(QUEUED - waiting):
        tenant = chance.choice(TENANTS)
        key = (
            "k1" if tenant == "dune" else chance.choice(KEYS)
        )  # one key on all queues, and nothing else to hold it back
        job = {"job_class": "Nap", "tenant": tenant, "concurrency_key": key, "priority": 1 + chance.randrange(3)}
        jobs.append(job | {"queue": chance.choice(QUEUES)})
    await connection.execute("SELECT count(*) FROM jobservice.submit($1::text::jsonb)", json.dumps(jobs))


async def end_some(connection: asyncpg.Connection, chance: random.Random) -> None:
    """Live jobs end while others claim. Their keys are let go after the commit, as by a daemon."""
    rows = await connection.fetch(
        """UPDATE jobservice.job_info SET status = 'ABORTED', stop_date = clock_timestamp() WHERE id = ANY (ARRAY(
             SELECT id FROM jobservice.job_info WHERE status IN ('TO_BE_RUN', 'RUNNING') AND random() < $1
             ORDER BY id FOR NO KEY UPDATE SKIP LOCKED))
           RETURNING tenant, concurrency_key""",
        chance.random(),
    )
    keys = [(row["tenant"], row["concurrency_key"]) for row in rows if row["concurrency_key"]]
    await Claimer(daemon_id=UUID(int=1), schema="jobservice", submissions_published=False).unblock(connection, keys)


async def upkeep(connection: asyncpg.Connection) -> None:
    """What daemons do beside: rescue, blocked keys, keys that nobody needs."""
    await Rescuer(schema="jobservice", max_lost_runs=1_000_000, follower=SETTLER).rescue(connection)
    due = Upkeep(schema="jobservice", follower=SETTLER)
    claimer = Claimer(daemon_id=UUID(int=1), schema="jobservice", submissions_published=False)
    await due.forget_keys(connection)
    await claimer.unblock(connection, await due.blocked_keys(connection))


async def test_no_limit_is_exceeded_by_four_claimers_that_are_killed_in_between(
    connection: asyncpg.Connection, connect: Connect
) -> None:
    chance = random.Random(2026)
    ends, care = await connect(), await connect()
    seats = [
        Seat(connect, await connect(), await make_daemon(connection, queues=QUEUES), await connect())
        for _ in range(CLAIMERS)
    ]
    await set_limits(connection)

    for n in range(ROUNDS):
        await fill(connection, chance)
        killed = chance.randrange(CLAIMERS) if n % 3 == 0 else None
        await asyncio.gather(
            *(seat.play(chance, killed=place == killed) for place, seat in enumerate(seats)),
            end_some(ends, chance),
            upkeep(care),
        )

    runs = await lives(connection)
    kept = Kept(runs)
    assert len(runs) > ROUNDS
    for queue, most in QUEUE_MAX.items():
        kept.never_above(most, f"queue {queue}", lambda run, q=queue: run["queue"] == q)
    for tenant, most in TENANT_MAX.items():
        kept.never_above(most, f"tenant {tenant}", lambda run, t=tenant: run["tenant"] == t)
    for (queue, tenant), most in SHARE_MAX.items():
        kept.never_above(
            most, f"{tenant} on {queue}", lambda run, at=(queue, tenant): (run["queue"], run["tenant"]) == at
        )
    for key, most in KEY_MAX.items():
        for tenant in TENANTS:
            kept.never_above(
                most,
                f"{tenant}'s key {key}",
                lambda run, at=(tenant, key): (run["tenant"], run["concurrency_key"]) == at,
            )
    for queue, rate in QUEUE_RATES.items():
        kept.never_faster(rate, f"queue {queue}", lambda run, q=queue: run["queue"] == q)
    for tenant, rate in TENANT_RATES.items():
        kept.never_faster(rate, f"tenant {tenant}", lambda run, t=tenant: run["tenant"] == t)
    tried = {
        "queue one",
        "tenant acme",
        "bolt on one",
        "dune's key k1",
        "the rate of queue three",
        "the rate of tenant core",
    }
    assert kept.reached >= tried, "else nothing was tried"


async def lives(connection: asyncpg.Connection) -> list[asyncpg.Record]:
    """Each run of each job: from when until when it was live."""
    return list(
        await connection.fetch(
            """SELECT j.queue, j.tenant, j.concurrency_key, r.claim_date, r.end_date
               FROM jobservice.job_run r JOIN jobservice.job_info j ON j.id = r.job_id
               UNION ALL
               SELECT queue, tenant, concurrency_key, claim_date, stop_date FROM jobservice.job_info
               WHERE claim_date IS NOT NULL"""
        )
    )


class Kept:
    """What the runs tell of the limits."""

    def __init__(self, runs: Iterable[Any]) -> None:
        self._runs = list(runs)
        self.reached: set[str] = set()
        self.peaks: defaultdict[str, int] = defaultdict(int)

    def never_above(self, most: int, what: str, belongs: Callable[[Any], bool]) -> None:
        """Ends before claims at the same moment: a claim counts what is committed."""
        changes: list[tuple[datetime, int]] = []
        for run in filter(belongs, self._runs):
            changes.append((run["claim_date"], 1))
            if run["end_date"] is not None:
                changes.append((run["end_date"], -1))
        live = 0
        for moment, change in sorted(changes):
            live += change
            self.peaks[what] = max(self.peaks[what], live)
            assert live <= most, f"{what}: {live} live at {moment}, {most} allowed"
        if self.peaks[what] == most:
            self.reached.add(what)

    def never_faster(self, rate: Rate, what: str, belongs: Callable[[Any], bool]) -> None:
        """By the definition of a bucket: it is emptied by one for each start, and filled up as time goes by."""
        each = timedelta(seconds=rate.period / rate.starts)
        full_at: datetime | None = None
        for moment in sorted(run["claim_date"] for run in self._runs if belongs(run)):
            full_at = max(moment, full_at or moment) + each
            ahead = full_at - moment - each * rate.at_once
            if ahead > -each:
                self.reached.add(f"the rate of {what}")
            assert ahead <= timedelta(microseconds=1), f"{what}: a start at {moment} came {ahead} too early"
