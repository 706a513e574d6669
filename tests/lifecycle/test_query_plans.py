"""The cost of a statement follows what it finds, not what the table holds: which indexes it reads, and how many rows.

Measured by the server's own counters, so that functions are measured too, and after several calls, when the planner
may have settled on one plan for all callers.
"""

import asyncio
import json
from collections.abc import Awaitable, Callable, Iterator, Sequence
from typing import Any
from uuid import UUID

import asyncpg
import pytest
from factory import SETTLER, held_run, make_daemon

from benchmarks.big_table import DAEMON, fill
from jobservice.domain.outcomes import Failed
from jobservice.domain.states import JobStatus
from jobservice.lifecycle.claim import Claimer
from jobservice.lifecycle.commands import Commands
from jobservice.lifecycle.limits import Limits
from jobservice.lifecycle.rescue import Rescuer
from jobservice.lifecycle.status_writer import StatusWriter
from jobservice.lifecycle.submission import Submitter
from jobservice.lifecycle.upkeep import Upkeep
from jobservice.store.backlog import Backlog
from jobservice.store.daemons import Daemons
from jobservice.store.job_reader import JobFilter, JobReader
from jobservice.store.outbox import Outbox
from jobservice.store.overview import Overview

FINISHED, QUEUED, PENDING, TENANTS = 200_000, 20_000, 10_000, 1_000
KEYED = 2_000
LIVE_DAEMON, LOST_DAEMON = DAEMON, UUID(int=2)

# Beside what big_table makes: jobs with keys and dates, live ones, pending ones, and facts that nobody has published.
FILL = f"""
INSERT INTO jobservice.job_info (id, tenant, queue, job_class, status, queued_date, concurrency_key, blocked,
                                 expiration_date)
SELECT jobservice.new_job_id(), 't' || n % 20, 'default', 'Nap', 'QUEUED', now(),
       CASE WHEN n % 100 = 0 THEN 'k' END, n % 200 = 0,
       CASE WHEN n % 2 = 0 THEN now() + n * interval '1 hour' END
FROM generate_series(1, {KEYED}) n;
INSERT INTO jobservice.concurrency_key SELECT 't' || n, 'k' FROM generate_series(0, 20) n;

INSERT INTO jobservice.job_info (id, tenant, queue, job_class, status, run, daemon_id, queued_date, claim_date,
                                 start_date)
SELECT jobservice.new_job_id(), 't' || n % 7, 'default', 'Nap', 'RUNNING', 1,
       CASE WHEN n <= 3 THEN '{LOST_DAEMON}' ELSE '{LIVE_DAEMON}' END::uuid, now(), now(), now()
FROM generate_series(1, 20) n;

INSERT INTO jobservice.job_info (id, tenant, queue, job_class, status, held, trigger_after_date, created_date)
SELECT jobservice.new_job_id(), 't1', 'default', 'Nap', 'PENDING', CASE WHEN n % 2 = 0 THEN 'trigger' ELSE 'user' END,
       now() + (n - 2.5) * interval '1 hour', now() - interval '1000 days' + n * interval '1 hour'
FROM generate_series(1, {PENDING}) n;

INSERT INTO jobservice.outbox (daemon_id, job_ids, sequences, runs, attempts, statuses, previous, times, priorities,
                               percents, details)
SELECT CASE WHEN n % 500 = 0 THEN NULL ELSE '{LIVE_DAEMON}'::uuid END, ARRAY[gen_random_uuid()], '{{4}}', '{{1}}',
       '{{1}}', '{{SUCCEEDED}}', '{{RUNNING}}', ARRAY[now()], '{{0}}', '{{100}}', ARRAY[NULL::jsonb]
FROM generate_series(1, 1000) n;
"""


class Meter:
    """A big table, and what a piece of work read of it."""

    def __init__(self, runner: asyncio.Runner, url: str) -> None:
        self.run = runner.run
        self.connection: asyncpg.Connection = self.run(asyncpg.connect(url))

    def fill(self) -> None:
        self.run(fill(self.connection, finished=FINISHED, queued=QUEUED, tenants=TENANTS))
        made = self.run(make_daemon(self.connection, ended="lost_at"))
        self.run(self.connection.execute("UPDATE jobservice.daemon SET id = $2 WHERE id = $1", made, LOST_DAEMON))
        self.run(self.connection.execute(FILL))
        # What calls stays called: the first claim of all takes it in, not each that is measured.
        self.run(self.connection.execute("SELECT jobservice.claim('default', 0, $1, '{}', '{}', '{}')", LIVE_DAEMON))
        # Nothing else may hold on to what the measurements roll back: each scan clears away what it meets of it.
        self.run(self.connection.execute("ALTER TABLE jobservice.job_info SET (autovacuum_enabled = off)"))
        self.run(self.connection.execute("VACUUM ANALYZE"))

    async def read(self, work: Callable[[asyncpg.Connection], Awaitable[Any]], *tables: str) -> dict[str, int]:
        """Rows read by index, by its name; those of a whole table by the table's. Nothing that was written stays."""
        for _ in range(7):
            await self._rolled_back(work, tables or ("job_info", "tenant_account", "tenant_call"))
        return await self._rolled_back(work, tables or ("job_info", "tenant_account", "tenant_call"))

    async def _rolled_back(
        self, work: Callable[[asyncpg.Connection], Awaitable[Any]], tables: Sequence[str]
    ) -> dict[str, int]:
        transaction = self.connection.transaction()
        await transaction.start()
        try:
            before = await self._counters(tables)
            await work(self.connection)
            after = await self._counters(tables)
        finally:
            await transaction.rollback()
        return {name: rows - before[name][1] for name, (scans, rows) in after.items() if scans > before[name][0]}

    async def _counters(self, tables: Sequence[str]) -> dict[str, tuple[int, int]]:
        rows = await self.connection.fetch(
            """SELECT relname, pg_stat_get_xact_numscans(oid) AS scans, pg_stat_get_xact_tuples_returned(oid) AS rows
               FROM pg_class c LEFT JOIN pg_index i ON i.indexrelid = c.oid
               WHERE coalesce(i.indrelid, c.oid) = ANY ($1::text[]::regclass[])""",
            [f"jobservice.{table}" for table in tables],
        )
        return {row["relname"]: (row["scans"], row["rows"]) for row in rows}


@pytest.fixture(scope="module")
def meter(module_database_url: str) -> Iterator[Meter]:
    with asyncio.Runner(loop_factory=asyncio.new_event_loop) as runner:
        meter = Meter(runner, module_database_url)
        meter.fill()
        yield meter
        runner.run(meter.connection.close())


@pytest.fixture(scope="module")
def picked(meter: Meter) -> dict[str, list[UUID]]:
    """Ten ids of each status, to work on."""
    rows = meter.run(
        meter.connection.fetch(
            """SELECT status, (array_agg(id ORDER BY number))[:10] AS ids FROM jobservice.job_info
               WHERE held IS NULL OR held = 'user' GROUP BY status"""
        )
    )
    return {row["status"]: row["ids"] for row in rows}


def check(read: dict[str, int], rows: int, *indexes: str) -> None:
    """Only these indexes were read, no more than so many rows by all, and never the whole table."""
    assert set(read) <= set(indexes), read
    assert sum(read.values()) <= rows, read
    assert read, "nothing was read at all"


CLAIM = (
    "job_info_claimable", "job_info_live_turn", "job_info_pkey", "job_info_key_live", "tenant_account_next",
    "tenant_account_pkey", "tenant_call_next",
)  # fmt: skip


@pytest.mark.parametrize("slots", [1, 100])
def test_a_claim_reads_a_few_rows_for_each_slot_however_many_tenants_wait(meter: Meter, slots: int) -> None:
    claimer = Claimer(daemon_id=LIVE_DAEMON, schema="jobservice", submissions_published=False)

    async def claim(connection: asyncpg.Connection) -> None:
        found = await claimer.claim(connection, queue="default", slots=slots, skipped_classes=(), charges={"t1": 1.0})
        assert len(found.jobs) == slots

    read = meter.run(meter.read(claim))

    # Per slot an account and the row, its lock and its update; the live ones and their tenants once.
    check(read, 8 * slots + 100, *CLAIM)


def test_a_claim_of_a_class_that_few_tenants_have_reads_the_backlog_about_twice(meter: Meter) -> None:
    claimer = Claimer(daemon_id=LIVE_DAEMON, schema="jobservice", submissions_published=False)

    async def claim(connection: asyncpg.Connection) -> None:
        found = await claimer.claim(connection, queue="default", slots=5, skipped_classes=["NoOp"], charges={})
        assert len(found.jobs) == 5

    check(meter.run(meter.read(claim)), 3 * (QUEUED + KEYED), *CLAIM)


def test_a_claim_that_finds_nothing_reads_nothing_of_what_has_ended(meter: Meter) -> None:
    claimer = Claimer(daemon_id=LIVE_DAEMON, schema="jobservice", submissions_published=False)

    async def claim(connection: asyncpg.Connection) -> None:
        await connection.execute("INSERT INTO jobservice.queue (queue) VALUES ('empty') ON CONFLICT DO NOTHING")
        await claimer.claim(connection, queue="empty", slots=10, skipped_classes=(), charges={})

    check(meter.run(meter.read(claim)), 5, *CLAIM)


def test_an_unblock_reads_the_rows_of_its_keys_only(meter: Meter) -> None:
    claimer = Claimer(daemon_id=LIVE_DAEMON, schema="jobservice", submissions_published=False)

    read = meter.run(meter.read(lambda c: claimer.unblock(c, [("t0", "k")])))

    # All that is live is as few rows: where the sample has missed them, the planner takes those for its own.
    indexes = ("job_info_key_live", "job_info_key_kept", "job_info_key_next", "job_info_key_full")
    check(read, 60, *indexes, "job_info_pkey", "job_info_live_turn")


def test_a_flush_reads_its_rows_by_their_key(meter: Meter, picked: dict[str, list[UUID]]) -> None:
    class Session:
        def use(self) -> Any:
            return Use(meter.connection)

    class Use:
        def __init__(self, connection: asyncpg.Connection) -> None:
            self.connection = connection

        async def __aenter__(self) -> asyncpg.Connection:
            return self.connection

        async def __aexit__(self, *_: object) -> None: ...

    class Listener:
        def started(self, job_id: UUID, run: int) -> None: ...

        def settled(self, job_id: UUID, run: int, status: JobStatus) -> None: ...
        def stale(self, job_id: UUID, run: int, status: str | None) -> None: ...
        def stop_marked(self, job_id: UUID, run: int) -> None: ...

    writer = StatusWriter(
        session=Session(), daemon_id=LIVE_DAEMON, schema="jobservice", publish=lambda _: None, listener=Listener(),
        follower=SETTLER,
        wake=lambda: None,
    )  # type: ignore[arg-type]  # fmt: skip

    async def flush(_: asyncpg.Connection) -> None:
        for job_id in picked["RUNNING"]:
            writer.finish(held_run(job_id, 1), Failed("ValueError", "no"))
        await writer.run_once()

    check(meter.run(meter.read(flush)), 40, "job_info_pkey")


COMMANDS: dict[str, tuple[str, Callable[[asyncpg.Connection, list[UUID]], Awaitable[Any]]]] = {
    "stop": ("QUEUED", lambda c, ids: Commands().stop(c, ids)),
    "stop a live one": ("RUNNING", lambda c, ids: Commands().stop(c, ids)),
    "enqueue": ("PENDING", lambda c, ids: Commands().enqueue(c, ids)),
    "restart": ("FAILED", lambda c, ids: Commands().restart(c, ids)),
    "lock": ("SUCCEEDED", lambda c, ids: Commands().lock(c, ids)),
    "update": ("QUEUED", lambda c, ids: Commands().update(c, ids, priority=3)),
    "rerun": ("SUCCEEDED", lambda c, ids: Commands().rerun(c, ids[:1])),
    "get": ("SUCCEEDED", lambda c, ids: JobReader().get(c, ids)),
    "cards": ("SUCCEEDED", lambda c, ids: Outbox(schema="jobservice").cards(c, ids)),
}


@pytest.mark.parametrize("command", COMMANDS)
def test_what_is_done_to_named_jobs_reads_them_by_their_key(
    meter: Meter, picked: dict[str, list[UUID]], command: str
) -> None:
    status, work = COMMANDS[command]

    read = meter.run(meter.read(lambda c: work(c, picked[status])))

    check(read, 250, "job_info_pkey")  # those rolled back before are still there


def test_a_submission_reads_nothing_of_the_other_jobs(meter: Meter) -> None:
    job = {"job_class": "Nap", "tenant": "t1", "idempotency_key": "i", "concurrency_key": "k"}

    assert meter.run(meter.read(lambda c: Submitter().submit(c, json.dumps([job])))) == {}


def upkeep() -> Upkeep:
    return Upkeep(schema="jobservice", follower=SETTLER)


async def a_step(connection: asyncpg.Connection) -> None:
    await Limits().set_queue(connection, "default", aging=60.0)
    await connection.execute("UPDATE jobservice.aging SET next_date = clock_timestamp()")
    while (await upkeep().raise_waiting(connection))[1]:
        pass


DAEMONS = Daemons(schema="jobservice")
UPKEEP: dict[str, tuple[Callable[[asyncpg.Connection], Awaitable[Any]], int, tuple[str, ...]]] = {
    "look": (
        lambda c: upkeep().look(c, ["none", "default"]),
        10,
        ("job_info_due", "job_info_expiry", "job_info_key_full", "tenant_call_next", "tenant_account_next"),
    ),
    "enqueue due": (lambda c: upkeep().enqueue_due(c), 20, ("job_info_due", "job_info_pkey")),
    "expire": (lambda c: upkeep().expire(c), 20, ("job_info_expiry", "job_info_pkey")),
    "blocked keys": (lambda c: upkeep().blocked_keys(c), 20, ("job_info_key_full",)),
    "clean": (
        lambda c: upkeep().clean(c, JobStatus.FAILED, older_than=86_400.0 + 1_975.0),
        2_000,
        ("job_info_clean", "job_info_pkey"),
    ),
    "clean, nothing old": (
        lambda c: upkeep().clean(c, JobStatus.SUCCEEDED, older_than=86_400.0 * 30),
        5,
        ("job_info_clean", "job_info_pkey"),
    ),
    "abandon pending": (
        lambda c: upkeep().abandon_pending(c, older_than=86_400.0 * 999.8),
        20,
        ("job_info_held", "job_info_pkey"),
    ),
    # Through the first entry of each priority of each tenant; one more for each that waits for a full key.
    "a step of aging": (a_step, 2 * TENANTS + 50, ("job_info_claimable",)),
    "forget daemons": (lambda c: upkeep().forget_daemons(c, older_than=0.0), 60, ("job_info_live_turn",)),
    "rescue": (
        lambda c: Rescuer(schema="jobservice", max_lost_runs=3, follower=SETTLER).rescue(c),
        60,
        ("job_info_live_turn", "job_info_pkey"),
    ),
    "watch": (lambda c: DAEMONS.others(c, LIVE_DAEMON, full=False), 60, ("job_info_live_turn",)),
    "watch, a full look": (lambda c: DAEMONS.others(c, LIVE_DAEMON, full=True), 60, ("job_info_live_turn",)),
    "compare": (
        lambda c: DAEMONS.live_jobs(c, LIVE_DAEMON, held=(), full=False),
        100,
        ("job_info_live_turn", "job_info_pkey"),
    ),
    "compare, a full look": (
        lambda c: DAEMONS.live_jobs(c, LIVE_DAEMON, held=(), full=True),
        100,
        ("job_info_live_turn", "job_info_pkey"),
    ),
    "backlog": (
        lambda c: Backlog(schema="jobservice").of(c, ["default"]),
        10_000,
        ("job_info_claimable",),
    ),
}


@pytest.mark.parametrize("work", UPKEEP)
def test_what_daemons_look_for_by_themselves_is_found_by_its_own_index(meter: Meter, work: str) -> None:
    done, rows, indexes = UPKEEP[work]

    check(meter.run(meter.read(done)), rows, *indexes)


OUTBOX: dict[str, tuple[Callable[[asyncpg.Connection, Outbox], Awaitable[Any]], int]] = {
    "own": (lambda c, outbox: outbox.own(c, LIVE_DAEMON, limit=100), 110),
    "own ids": (lambda c, outbox: outbox.own_ids(c, LIVE_DAEMON), 1_010),
    "ownerless": (lambda c, outbox: outbox.ownerless(c, limit=1), 510),
    "earlier": (lambda c, outbox: outbox.earlier(c, before=50, jobs=[UUID(int=9)]), 60),
    "delete": (lambda c, outbox: outbox.delete(c, [3, 4, 5]), 10),
}


@pytest.mark.parametrize("work", OUTBOX)
def test_facts_are_found_by_their_order_and_no_more_of_them_than_are_wanted(meter: Meter, work: str) -> None:
    done, rows = OUTBOX[work]

    read = meter.run(meter.read(lambda c: done(c, Outbox(schema="jobservice")), "job_info", "outbox"))

    assert sum(read.values()) <= rows, read
    assert read.keys() <= {"outbox_pkey", "outbox"}, read


LISTS: dict[str, tuple[JobFilter, int, tuple[str, ...]]] = {
    "newest": (JobFilter(), 110, ("job_info_pkey",)),
    "of a tenant": (JobFilter(tenant="t3"), 200, ("job_info_of_tenant", "job_info_pkey")),
    "that wait": (JobFilter(statuses=["PENDING"]), 200, ("job_info_pkey",)),
}


def test_a_page_far_down_a_list_reads_no_more_than_the_first(meter: Meter, picked: dict[str, list[UUID]]) -> None:
    oldest = picked["SUCCEEDED"][-1]

    for wanted in (JobFilter(), JobFilter(tenant="t3")):
        read = meter.run(meter.read(lambda c, w=wanted: JobReader().find(c, w, after=oldest, limit=50)))

        check(read, 200, "job_info_of_tenant", "job_info_pkey")


@pytest.mark.parametrize("wanted", LISTS)
def test_a_page_of_a_list_reads_about_as_many_rows_as_it_shows(meter: Meter, wanted: str) -> None:
    filters, rows, indexes = LISTS[wanted]

    read = meter.run(meter.read(lambda c: JobReader().find(c, filters, after=None, limit=50)))

    check(read, rows, *indexes)


def test_the_overview_of_tenants_and_queues_reads_no_job_that_has_ended(meter: Meter) -> None:
    overview = Overview()

    async def look(connection: asyncpg.Connection) -> None:
        await overview.tenants(connection)
        await overview.queues(connection)

    read = meter.run(meter.read(look))

    assert "job_info" not in read
    assert sum(read.values()) < 4 * (QUEUED + KEYED + PENDING)


def test_why_a_job_is_not_running_is_told_without_reading_the_table(
    meter: Meter, picked: dict[str, list[UUID]]
) -> None:
    read = meter.run(meter.read(lambda c: JobReader().why_not_running(c, picked["QUEUED"][-1])))

    assert "job_info" not in read
    assert sum(read.values()) < 500
