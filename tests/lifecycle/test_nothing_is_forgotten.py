"""Whatever commits, rolls back and changes its mind in whatever order: claims find all that may run, at any moment."""

import asyncio
import json
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from random import Random
from typing import Any

import asyncpg
import pytest
from asyncpg.transaction import Transaction
from factory import empty_tables, make_daemon
from impatience import replace_claim

from jobservice.lifecycle.claim import Claimer
from jobservice.lifecycle.limits import Limits

TENANTS = ("acme", "bolt", "core", "dune")
NO_LIMIT = -1
STEPS = 400
WEIGHTS = {
    "begin": 3, "end": 3, "submit": 6, "change": 6, "put_aside": 3, "end_all": 3, "limit": 1, "pause": 1,
    "killed_claim": 1, "claim": 8, "age": 1,
}  # fmt: skip
SUBMIT = "SELECT jobservice.submit($1::text::jsonb)"
# One job of a random place, unless somebody holds it.
ONE_OF = """(SELECT j.id FROM jobservice.job_info j WHERE j.status = ANY ($1) ORDER BY j.number
             OFFSET $2 % greatest(1, (SELECT count(*) FROM jobservice.job_info WHERE status = ANY ($1))) LIMIT 1
             FOR UPDATE SKIP LOCKED)"""
CHANGES = [
    (["QUEUED", "PENDING"], "status = 'ABORTED', held = NULL, blocked = false, stop_date = now()"),
    (
        ["FAILED", "ABORTED"],
        "status = 'QUEUED', queued_date = now(), blocked = false, daemon_id = NULL, claim_date = NULL,"
        " start_date = NULL, stop_date = NULL,"
        " error_message = NULL, percent_completed = 0",
    ),
    (["TO_BE_RUN"], "status = 'QUEUED', daemon_id = NULL, claim_date = NULL"),
    (["TO_BE_RUN"], "status = 'FAILED', stop_date = now(), error_message = 'no'"),
    (["QUEUED"], "priority = priority + 1"),
    (["QUEUED"], "priority = priority - 1"),
    (["QUEUED"], "status = 'PENDING', held = 'user', blocked = false"),
    (["PENDING"], "status = 'QUEUED', held = NULL, queued_date = now()"),
    (["QUEUED", "PENDING"], "tenant = CASE tenant WHEN 'acme' THEN 'bolt' ELSE 'acme' END"),
]
END_ALL = """
    UPDATE jobservice.job_info SET status = 'FAILED', stop_date = now(), error_message = 'no' WHERE id = ANY (ARRAY(
      SELECT j.id FROM jobservice.job_info j WHERE j.status = 'TO_BE_RUN' FOR UPDATE SKIP LOCKED))"""
PUT_ASIDE = """
    UPDATE jobservice.job_info SET blocked = $2 WHERE id = ANY (ARRAY(
      SELECT j.id FROM jobservice.job_info j WHERE j.status = 'QUEUED' AND j.tenant = $1 FOR UPDATE SKIP LOCKED))"""
LOCKABLE = """
    SELECT f.tenant FROM (SELECT j.tenant FROM jobservice.job_info j WHERE j.status = 'QUEUED' AND NOT j.blocked
                          FOR NO KEY UPDATE SKIP LOCKED) f"""


@dataclass
class Sessions:
    """Sessions that outlive an example: one that claims, one that looks, and two that leave transactions open."""

    run: Any
    claims: asyncpg.Connection
    looks: asyncpg.Connection
    slow: list[asyncpg.Connection]


@pytest.fixture(scope="module", params=["usual", "bounds move", "few calls"])
def sessions(module_database_url: str, request: pytest.FixtureRequest) -> Iterator[Sessions]:
    with asyncio.Runner(loop_factory=asyncio.new_event_loop) as runner:
        opened = [runner.run(asyncpg.connect(module_database_url)) for _ in range(4)]
        few = 2 if request.param == "few calls" else None
        runner.run(replace_claim(opened[0], impatient=request.param != "usual", most_calls=few))
        yield Sessions(runner.run, opened[0], opened[1], opened[2:])
        for connection in opened:
            runner.run(connection.close())


class Books:
    """Several sessions at once; each change stands in an open transaction, a savepoint, or by itself."""

    def __init__(self, sessions: Sessions, random: Random) -> None:
        self.sessions = sessions
        self.random = random
        self.run = sessions.run
        self.open: list[list[Transaction]] = [[], []]
        self.again = False
        self.run(empty_tables(sessions.looks))
        self.daemon = self.run(make_daemon(sessions.looks))

    def step(self) -> None:
        [do] = self.random.choices(list(WEIGHTS), list(WEIGHTS.values()))
        getattr(self, do)()
        assert self.run(self.audit()) == []

    @property
    def n(self) -> int:
        return self.random.randrange(2)

    @property
    def tenant(self) -> str:
        return self.random.choice(TENANTS)

    def begin(self) -> None:
        """A transaction, or within one a savepoint; some have a number of their own from the start."""
        n = self.n
        if len(self.open[n]) == 2:
            return
        transaction = self.sessions.slow[n].transaction()
        self.run(transaction.start())
        self.open[n].append(transaction)
        if self.random.random() < 0.5:
            self.run(self.sessions.slow[n].execute("SELECT pg_current_xact_id()"))

    def end(self) -> None:
        n = self.n
        for _ in range(min(self.random.randint(1, 2), len(self.open[n]))):
            transaction = self.open[n].pop()
            self.run(transaction.commit() if self.random.random() < 0.7 else transaction.rollback())

    def submit(self) -> None:
        job = {
            "job_class": "Nap", "tenant": self.tenant, "priority": self.random.randint(-1, 1),
            "status": self.random.choice(["PENDING", "QUEUED", "QUEUED"]),
        }  # fmt: skip
        self.run(self.sessions.slow[self.n].execute(SUBMIT, json.dumps(self.random.randint(1, 6) * [job])))

    def change(self) -> None:
        statuses, assignment = self.random.choice(CHANGES)
        self.run(
            self.sessions.slow[self.n].execute(
                f"UPDATE jobservice.job_info SET {assignment} WHERE id = {ONE_OF} AND status = ANY ($1)",
                statuses, self.random.randrange(100),
            )
        )  # fmt: skip

    def put_aside(self) -> None:
        blocked = self.random.random() < 0.5
        self.run(self.sessions.slow[self.n].execute(PUT_ASIDE, self.tenant, blocked))

    def end_all(self) -> None:
        self.run(self.sessions.looks.execute(END_ALL))

    def limit(self) -> None:
        limits, looks = Limits(), self.sessions.looks
        limit = self.random.choice([NO_LIMIT, NO_LIMIT, NO_LIMIT, 0, 1, 3])
        works = {
            "queue": lambda: limits.set_queue(looks, "default", max_running=limit),
            "tenant": lambda: limits.set_tenant(looks, self.tenant, max_running=limit),
            "share": lambda: limits.set_share(looks, "default", self.tenant, max_running=limit),
        }
        self.run(works[self.random.choice(list(works))]())

    def pause(self) -> None:
        paused, weight = self.random.random() < 0.3, self.random.choice([None, 1.0, 4.0])
        self.run(Limits().set_tenant(self.sessions.looks, self.tenant, paused=paused, weight=weight))

    def age(self) -> None:
        """A part of a step of aging."""
        looks, run = self.sessions.looks, self.run
        run(Limits().set_queue(looks, "default", aging=1.0))
        run(
            looks.execute("UPDATE jobservice.aging SET next_date = clock_timestamp(), up_to = jobservice.last_number()")
        )
        run(looks.execute("SELECT jobservice.raise_waiting($1)", self.random.randint(1, 30)))

    def killed_claim(self) -> None:
        """A daemon that dies before the commit of its claim."""
        transaction = self.sessions.claims.transaction()
        self.run(transaction.start())
        self.run(self.one_claim(self.random.randint(0, 4)))
        self.run(transaction.rollback())

    def claim(self) -> None:
        slots = self.random.randint(0, 8)
        due = self.due(slots)
        charged = self.random.sample(TENANTS, self.random.randint(0, 3))

        found = self.run(self.one_claim(slots, {tenant: self.random.choice([0.5, 1, 30]) for tenant in charged}))
        while found == 0 and due and self.again:
            found = self.run(self.one_claim(slots))

        assert found == due or (self.calls_left and 0 < found < due)

    async def one_claim(self, slots: int, charges: dict[str, float] | None = None) -> int:
        claimer = Claimer(daemon_id=self.daemon, schema="jobservice", submissions_published=False)
        found = await claimer.claim(
            self.sessions.claims, queue="default", slots=slots, skipped_classes=(), charges=charges or {}
        )
        self.again = found.again_in is not None
        return len(found.jobs)

    @property
    def calls_left(self) -> bool:
        """Where a claim takes in few calls, it may find a part of what there is, but not nothing."""
        return self.run(self.sessions.looks.fetchval("SELECT EXISTS (SELECT FROM jobservice.tenant_call)"))

    def due(self, slots: int) -> int:
        """How many jobs may be claimed now, counted without any books."""
        looks, run = self.sessions.looks, self.run
        transaction = looks.transaction()
        run(transaction.start())
        waiting = Counter(row["tenant"] for row in run(looks.fetch(LOCKABLE)))
        run(transaction.rollback())
        live = Counter(
            row["tenant"]
            for row in run(looks.fetch("SELECT tenant FROM jobservice.job_info WHERE status = 'TO_BE_RUN'"))
        )
        tenants = {row["tenant"]: row for row in run(looks.fetch("SELECT * FROM jobservice.tenant"))}
        shares = {row["tenant"]: row for row in run(looks.fetch("SELECT * FROM jobservice.tenant_share"))}
        queue_max = run(looks.fetchval("SELECT max_running FROM jobservice.queue WHERE queue = 'default'"))
        due = 0
        for tenant, jobs in waiting.items():
            limits = [row["max_running"] for rows in (tenants, shares) if (row := rows.get(tenant))]
            rooms = [limit - live[tenant] for limit in limits if limit is not None]
            paused = tenant in tenants and tenants[tenant]["paused"]
            due += 0 if paused else max(0, min([jobs, *rooms]))
        return max(0, min([slots, due, *([] if queue_max is None else [queue_max - live.total()])]))

    async def audit(self) -> list[asyncpg.Record]:
        """What an audit would find at this moment, seen by a session of its own."""
        transaction = self.sessions.looks.transaction()
        await transaction.start()
        found = await self.sessions.looks.fetch("SELECT * FROM jobservice.call_forgotten('{default}')")
        await transaction.rollback()
        return found

    def close(self) -> None:
        for opened in self.open:
            while opened:
                self.run(opened.pop().rollback())


@pytest.mark.parametrize("seed", range(4))
def test_no_claim_leaves_a_slot_free_for_which_there_is_a_job_whatever_happened_before(
    sessions: Sessions, seed: int
) -> None:
    books = Books(sessions, Random(seed))

    try:
        for _ in range(STEPS):
            books.step()
    finally:
        books.close()
