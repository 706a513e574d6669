"""Waiting raises a priority: in each step old jobs come one rung up, of those on which others of their tenant wait."""

import asyncio
import json
from collections.abc import Iterator
from random import Random
from typing import Any
from uuid import UUID

import asyncpg
import pytest
from factory import SETTLER, empty_tables, make_daemon, make_job, row_of

from jobservice.domain.states import JobStatus
from jobservice.lifecycle.claim import Claimer
from jobservice.lifecycle.commands import Commands
from jobservice.lifecycle.limits import NO_AGING, Limits
from jobservice.lifecycle.upkeep import Upkeep
from jobservice.store.job_reader import JobReader

MINUTES = 600.0
LOW, MEDIUM, HIGH = -100, 0, 100
SUBMIT = "SELECT job_id FROM jobservice.submit($1::text::jsonb)"


async def submitted(connection: asyncpg.Connection, *priorities: int, tenant: str = "acme") -> list[UUID]:
    jobs = [{"job_class": "Nap", "tenant": tenant, "priority": priority} for priority in priorities]
    return [row["job_id"] for row in await connection.fetch(SUBMIT, json.dumps(jobs))]


async def periods_pass(connection: asyncpg.Connection, periods: int = 1, *, batch: int = 1_000) -> int:
    """So many steps, each a period after the last one; how many times a job has risen."""
    raised = 0
    for _ in range(periods):
        await connection.execute("UPDATE jobservice.aging SET next_date = clock_timestamp()")
        more = True
        while more:
            row = await connection.fetchrow("SELECT * FROM jobservice.raise_waiting($1)", batch)
            raised, more = raised + row["raised"], row["more"]
    return raised


async def priorities_of(connection: asyncpg.Connection, ids: list[UUID]) -> list[int]:
    rows = {
        row["id"]: row["priority"] for row in await connection.fetch("SELECT id, priority FROM jobservice.job_info")
    }
    return [rows[each] for each in ids]


async def claimed(connection: asyncpg.Connection, daemon: UUID, slots: int) -> list[UUID]:
    claimer = Claimer(daemon_id=daemon, schema="jobservice", submissions_published=False)
    found = await claimer.claim(connection, queue="default", slots=slots, skipped_classes=(), charges={})
    return [job.card.job_id for job in found.jobs]


@pytest.fixture
async def ages(connection: asyncpg.Connection, daemon: UUID) -> UUID:
    """The daemon; jobs of its queue age."""
    await Limits().set_queue(connection, "default", aging=MINUTES)
    return daemon


async def test_without_aging_a_job_waits_for_ever_behind_more_urgent_ones(
    connection: asyncpg.Connection, daemon: UUID
) -> None:
    [old] = await submitted(connection, LOW)
    await submitted(connection, HIGH)

    raised = await periods_pass(connection, 5)

    assert (raised, (await row_of(connection, old))["priority"]) == (0, LOW)


async def test_an_old_job_goes_before_a_more_urgent_one_that_came_later(
    connection: asyncpg.Connection, ages: UUID
) -> None:
    [old] = await submitted(connection, LOW)
    [first_high] = await submitted(connection, HIGH)
    await periods_pass(connection, 2)
    [later] = await submitted(connection, HIGH)

    order = [
        *await claimed(connection, ages, 1),
        *await claimed(connection, ages, 1),
        *await claimed(connection, ages, 1),
    ]

    assert order == [old, first_high, later]


async def test_nobody_rises_before_a_period_has_passed_since_its_submission(
    connection: asyncpg.Connection, ages: UUID
) -> None:
    await submitted(connection, HIGH)
    await periods_pass(connection)
    [young] = await submitted(connection, LOW)

    first = (await periods_pass(connection), (await row_of(connection, young))["priority"])
    second = (await periods_pass(connection), (await row_of(connection, young))["priority"])

    assert (first, second) == ((0, LOW), (1, HIGH))


async def test_a_step_is_one_rung_of_those_on_which_something_waits(connection: asyncpg.Connection, ages: UUID) -> None:
    ids = await submitted(connection, LOW, MEDIUM, HIGH)

    rungs = []
    for _ in range(3):
        await periods_pass(connection)
        rungs.append(await priorities_of(connection, ids))

    assert rungs == [[LOW, MEDIUM, HIGH], [MEDIUM, HIGH, HIGH], [HIGH, HIGH, HIGH]]


async def test_more_urgent_jobs_of_another_tenant_raise_nobody(connection: asyncpg.Connection, ages: UUID) -> None:
    ids = await submitted(connection, LOW)
    await submitted(connection, HIGH, tenant="bolt")

    raised = await periods_pass(connection, 3)

    assert (raised, await priorities_of(connection, ids)) == (0, [LOW])


async def test_where_all_jobs_have_one_priority_nothing_is_written(connection: asyncpg.Connection, ages: UUID) -> None:
    ids = await submitted(connection, *[MEDIUM] * 50)
    before = await connection.fetch("SELECT xmin::text FROM jobservice.job_info ORDER BY number")

    await periods_pass(connection, 3)

    assert await connection.fetch("SELECT xmin::text FROM jobservice.job_info ORDER BY number") == before
    assert await priorities_of(connection, ids) == [MEDIUM] * 50


async def test_what_was_given_is_seen_beside_what_counts_now_until_somebody_gives_another(
    connection: asyncpg.Connection, ages: UUID
) -> None:
    [old, high] = await submitted(connection, LOW, HIGH)
    await periods_pass(connection, 2)

    [risen, _] = await JobReader().get(connection, [old, high])
    await Commands().update(connection, [old], priority=MEDIUM)
    [given, untouched] = await JobReader().get(connection, [old, high])

    assert (risen["priority"], risen["given_priority"]) == (HIGH, LOW)
    assert (given["priority"], given["given_priority"]) == (MEDIUM, None)
    assert (untouched["priority"], untouched["given_priority"]) == (HIGH, None)


async def test_a_new_expiration_date_leaves_what_was_given_and_what_counts_now(
    connection: asyncpg.Connection, ages: UUID
) -> None:
    [old, _] = await submitted(connection, LOW, HIGH)
    await periods_pass(connection, 2)

    later = await connection.fetchval("SELECT now() + interval '1 day'")
    await Commands().update(connection, [old], expiration=later)

    row = await row_of(connection, old)
    assert (row["priority"], row["given_priority"], row["expiration_date"]) == (HIGH, LOW, later)


async def test_a_rerun_begins_with_the_priority_that_was_given(connection: asyncpg.Connection, ages: UUID) -> None:
    [old, _] = await submitted(connection, LOW, HIGH)
    await periods_pass(connection, 2)
    await connection.execute("SELECT jobservice.stop($1)", old)

    [result] = await Commands().rerun(connection, [old])

    assert result.new_job_id is not None
    row = await row_of(connection, result.new_job_id)
    assert (row["priority"], row["given_priority"]) == (LOW, None)


async def test_a_job_that_is_put_aside_does_not_rise_while_it_is(connection: asyncpg.Connection, ages: UUID) -> None:
    aside = await make_job(connection, JobStatus.QUEUED, priority=LOW, blocked=True)
    await make_job(connection, JobStatus.QUEUED, priority=HIGH)
    await periods_pass(connection, 2)
    while_aside = (await row_of(connection, aside))["priority"]

    await connection.execute("UPDATE jobservice.job_info SET blocked = false WHERE id = $1", aside)
    await periods_pass(connection)

    assert (while_aside, (await row_of(connection, aside))["priority"]) == (LOW, HIGH)


async def test_a_step_waits_for_nobody_and_raises_later_what_somebody_holds(
    connection: asyncpg.Connection, ages: UUID, connect: Any
) -> None:
    [held, free, _] = await submitted(connection, LOW, LOW, HIGH)
    client = await connect()
    holding = client.transaction()
    await holding.start()
    await client.execute("SELECT FROM jobservice.job_info WHERE id = $1 FOR UPDATE", held)

    await periods_pass(connection, 2)
    meanwhile = await priorities_of(connection, [held, free])
    await holding.rollback()
    await periods_pass(connection)

    assert (meanwhile, await priorities_of(connection, [held, free])) == ([LOW, HIGH], [HIGH, HIGH])


async def test_a_step_belongs_to_one_daemon_at_a_time(connection: asyncpg.Connection, ages: UUID, connect: Any) -> None:
    await submitted(connection, LOW, LOW, HIGH)
    await periods_pass(connection)
    await connection.execute("UPDATE jobservice.aging SET next_date = clock_timestamp()")
    other, upkeep = await connect(), Upkeep(schema="jobservice", follower=SETTLER)

    async with connection.transaction():
        mine = await upkeep.raise_waiting(connection)
        theirs = await upkeep.raise_waiting(other)

    assert (mine, theirs) == ((2, False), (0, False))


async def test_a_new_period_counts_from_the_last_step_and_off_ends_it(
    connection: asyncpg.Connection, ages: UUID
) -> None:
    limits, due = Limits(), "SELECT extract(epoch FROM next_date - clock_timestamp())::float8 FROM jobservice.aging"
    first = await connection.fetchval(due)
    await limits.set_queue(connection, "default", aging=MINUTES / 10)
    sooner = await connection.fetchval(due)
    await limits.set_queue(connection, "default", paused=False)
    kept = await connection.fetchval(due)
    await limits.set_queue(connection, "default", aging=NO_AGING)

    assert first == pytest.approx(600, abs=60)
    assert sooner == pytest.approx(60 - (600 - first), abs=5)
    assert kept == pytest.approx(sooner, abs=5)
    assert await connection.fetchval(due) is None


class Ladder:
    """Random jobs, claims, and steps: the database beside the rule, reckoned in the plainest way."""

    def __init__(self, connection: asyncpg.Connection, random: Random) -> None:
        self.connection = connection
        self.random = random
        self.jobs: dict[int, tuple[str, str, int]] = {}
        """Those that may be claimed: queue, tenant and priority by number."""
        self.mark = 0

    async def submit(self) -> None:
        many = [(self.random.choice("qr"), self.random.choice("abc"), self.random.randint(-3, 3)) for _ in range(6)]
        jobs = [{"job_class": "Nap", "queue": q, "tenant": t, "priority": p} for q, t, p in many]
        ids = [row["job_id"] for row in await self.connection.fetch(SUBMIT, json.dumps(jobs))]
        numbers = await self.connection.fetch(
            "SELECT number FROM jobservice.job_info j WHERE j.id = ANY ($1) ORDER BY array_position($1, j.id)", ids
        )
        self.jobs |= {row["number"]: job for row, job in zip(numbers, many, strict=True)}

    async def end(self) -> None:
        for number in self.random.sample(sorted(self.jobs), min(3, len(self.jobs))):
            del self.jobs[number]
            await self.connection.execute(
                "SELECT jobservice.stop(id) FROM jobservice.job_info WHERE number = $1", number
            )

    async def step(self) -> None:
        """Only jobs of queue q age."""
        rungs = {
            tenant: sorted({p for q, t, p in self.jobs.values() if (q, t) == ("q", tenant)}, reverse=True)
            for tenant in "abc"
        }
        for number, (queue, tenant, priority) in list(self.jobs.items()):
            if queue == "q" and number <= self.mark:
                self.jobs[number] = queue, tenant, rungs[tenant][max(0, rungs[tenant].index(priority) - 1)]
        self.mark = max(self.jobs, default=self.mark)
        await periods_pass(self.connection, batch=self.random.randint(1, 9))

    async def stored(self) -> dict[int, tuple[str, str, int]]:
        rows = await self.connection.fetch(
            "SELECT number, queue, tenant, priority FROM jobservice.job_info WHERE status = 'QUEUED'"
        )
        return {row["number"]: (row["queue"], row["tenant"], row["priority"]) for row in rows}


@pytest.fixture(scope="module")
def ladder_session(module_database_url: str) -> Iterator[tuple[Any, asyncpg.Connection]]:
    with asyncio.Runner(loop_factory=asyncio.new_event_loop) as runner:
        connection = runner.run(asyncpg.connect(module_database_url))
        yield runner.run, connection
        runner.run(connection.close())


@pytest.mark.parametrize("seed", range(8))
def test_a_step_in_whatever_batches_is_the_rule_for_all_jobs_at_once(
    ladder_session: tuple[Any, asyncpg.Connection], seed: int
) -> None:
    run, connection = ladder_session
    ladder = Ladder(connection, Random(seed))
    run(empty_tables(connection))
    run(make_daemon(connection, queues=("q", "r")))
    run(Limits().set_queue(connection, "q", aging=MINUTES))

    for _ in range(25):
        run(getattr(ladder, ladder.random.choice(["submit", "end", "step", "step"]))())

        assert run(ladder.stored()) == ladder.jobs


async def test_another_priority_for_a_pipeline_is_what_its_jobs_are_given(connection: asyncpg.Connection) -> None:
    written = {"name": "daily", "stages": [{"name": "all", "jobs": [{"job_class": "Nap"}]}]}
    pipeline = await connection.fetchval(
        "SELECT pipeline_id FROM jobservice.submit_pipeline($1::text::jsonb)", json.dumps(written)
    )
    await connection.execute("UPDATE jobservice.job_info SET priority = $1, given_priority = $2", HIGH, MEDIUM)

    await connection.execute(
        "SELECT jobservice.command_pipelines(ARRAY[$1::uuid], 'set_priority', argument => $2::text::jsonb)",
        pipeline, '"LOW"',
    )  # fmt: skip

    rows = await connection.fetch("SELECT priority, given_priority FROM jobservice.job_info")
    assert [tuple(row) for row in rows] == [(LOW, None)]
