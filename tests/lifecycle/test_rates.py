"""Rates: no more starts than the bucket gives, over all queues and daemons; who finds it empty is told for how long."""

import asyncio
import random
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from fractions import Fraction
from typing import Any
from uuid import UUID

import asyncpg
import pytest
from factory import SETTLER, make_daemon, make_job, make_queue, row_of

from jobservice.domain.rates import Rate, parse
from jobservice.lifecycle.claim import Claim, Claimer
from jobservice.lifecycle.limits import NO_RATE, Limits
from jobservice.lifecycle.rescue import Rescuer

HOURLY = Rate(starts=5, period=3600)
NOW = datetime(2026, 1, 1, tzinfo=UTC)


@pytest.fixture
async def both(connection: asyncpg.Connection) -> UUID:
    """A daemon of two queues."""
    return await make_daemon(connection, queues=("default", "other"))


async def claim(connection: asyncpg.Connection, daemon: UUID, *, queue: str = "default", slots: int = 10) -> Claim:
    claimer = Claimer(daemon_id=daemon, schema="jobservice", submissions_published=False)
    return await claimer.claim(connection, queue=queue, slots=slots, skipped_classes=(), charges={})


async def queued(connection: asyncpg.Connection, jobs: int, **columns: Any) -> None:
    for _ in range(jobs):
        await make_job(connection, **columns)


async def pass_time(connection: asyncpg.Connection, table: str, seconds: float) -> None:
    """As if so much time had passed since the last start."""
    await connection.execute(
        f"UPDATE jobservice.{table} SET rate_full_at = rate_full_at - make_interval(secs => $1)", seconds
    )


async def test_a_queue_starts_as_many_as_its_rate_at_once_and_then_says_when_the_next_may(
    connection: asyncpg.Connection, both: UUID
) -> None:
    await queued(connection, 8)
    await Limits().set_queue(connection, "default", rate=HOURLY)

    first, second = await claim(connection, both), await claim(connection, both)

    assert len(first.jobs) == 5
    assert second.jobs == ()
    assert second.again_in is not None
    assert 0 < second.again_in <= 720


async def test_the_bucket_fills_with_time_and_never_above_its_burst(connection: asyncpg.Connection, both: UUID) -> None:
    await queued(connection, 40)
    await Limits().set_queue(connection, "default", rate=Rate(starts=6, period=3600, burst=2))

    taken = []
    for seconds in (0, 600, 1200, 86_400):
        await pass_time(connection, "queue", seconds)
        taken.append(len((await claim(connection, both)).jobs))

    assert taken == [2, 1, 2, 2]


async def test_a_tenants_rate_holds_on_all_queues_together_and_holds_nobody_else_up(
    connection: asyncpg.Connection, both: UUID
) -> None:
    for queue in ("default", "other"):
        await queued(connection, 4, queue=queue)
        await queued(connection, 1, queue=queue, tenant="bolt")
    await Limits().set_tenant(connection, "acme", rate=HOURLY)

    claims = [await claim(connection, both, queue=queue) for queue in ("default", "other", "other")]

    tenants = [sorted(job.card.tenant for job in each.jobs) for each in claims]
    assert tenants == [["acme"] * 4 + ["bolt"], ["acme", "bolt"], []]
    assert claims[1].again_in is None
    assert claims[2].again_in is not None


async def test_what_was_not_claimed_costs_nothing(connection: asyncpg.Connection, both: UUID) -> None:
    await queued(connection, 3)
    await Limits().set_queue(connection, "default", rate=HOURLY)
    await Limits().set_tenant(connection, "acme", rate=HOURLY)

    empty = await claim(connection, both, queue="other")
    first = await claim(connection, both)
    nothing = await claim(connection, both)
    await queued(connection, 3)
    second = await claim(connection, both)

    assert (len(first.jobs), len(second.jobs)) == (3, 2)
    assert empty.again_in is nothing.again_in is None, "nobody waits for a rate where nothing is queued"


async def test_a_run_that_was_lost_has_spent_its_start(connection: asyncpg.Connection, both: UUID) -> None:
    await queued(connection, 6)
    await Limits().set_queue(connection, "default", rate=HOURLY)
    await claim(connection, both)
    await connection.execute("UPDATE jobservice.daemon SET lost_at = now()")

    await Rescuer(schema="jobservice", max_lost_runs=3, follower=SETTLER).rescue(connection)
    again = await claim(connection, await make_daemon(connection))

    assert again.jobs == ()


async def test_a_new_rate_is_obeyed_at_once_and_without_one_all_may_start(
    connection: asyncpg.Connection, both: UUID
) -> None:
    await queued(connection, 30)
    taken = []
    for rate in (HOURLY, HOURLY, Rate(starts=7200, period=3600, burst=1), NO_RATE):
        await Limits().set_queue(connection, "default", rate=rate)
        taken.append(await claim(connection, both))

    assert [len(each.jobs) for each in taken] == [5, 0, 0, 10]
    assert taken[2].again_in is not None
    assert taken[2].again_in <= 0.5, "an hour's wait of the old rate is none of the new one's"


async def test_a_clock_that_is_set_back_delays_by_no_more_than_an_empty_bucket(
    connection: asyncpg.Connection, both: UUID
) -> None:
    await queued(connection, 6)
    await Limits().set_queue(connection, "default", rate=HOURLY)
    await claim(connection, both)
    await pass_time(connection, "queue", -864_000)

    held_back = await claim(connection, both)
    await pass_time(connection, "queue", 864_000 + 720)
    afterwards = await claim(connection, both)

    assert held_back.again_in is not None
    assert held_back.again_in <= 720
    assert len(afterwards.jobs) == 1


async def test_the_lowest_of_a_limit_and_a_rate_counts(connection: asyncpg.Connection, both: UUID) -> None:
    await queued(connection, 9)
    await make_queue(connection, max_running=2)
    await Limits().set_queue(connection, "default", rate=HOURLY)
    await Limits().set_tenant(connection, "acme", max_running=4, rate=Rate(starts=3, period=3600))

    first = await claim(connection, both)
    await Limits().set_queue(connection, "default", max_running=9)
    second = await claim(connection, both)
    third = await claim(connection, both)

    assert [len(each.jobs) for each in (first, second, third)] == [2, 1, 0]


async def test_the_moment_of_a_start_is_that_by_which_the_rate_counts_it(
    connection: asyncpg.Connection, both: UUID
) -> None:
    job_id = await make_job(connection)
    await Limits().set_queue(connection, "default", rate=HOURLY)
    await Limits().set_tenant(connection, "acme", rate=HOURLY)

    await claim(connection, both)

    claimed_at = (await row_of(connection, job_id))["claim_date"]
    for table in ("queue", "tenant"):
        full_at = await connection.fetchval(f"SELECT rate_full_at FROM jobservice.{table} WHERE rate IS NOT NULL")
        assert full_at == claimed_at + timedelta(seconds=720)


class Bucket:
    """A token bucket by its definition, in fractions: what the SQL functions are held against."""

    def __init__(self, rate: Rate) -> None:
        self.fill = Fraction(rate.starts) / Fraction(rate.period)
        self.size = self.tokens = Fraction(rate.at_once)

    def take(self, passed: timedelta, wanted: int) -> int:
        self.tokens = min(self.size, self.tokens + self.fill * Fraction(passed // timedelta(microseconds=1), 1_000_000))
        taken = min(wanted, int(self.tokens))
        self.tokens -= taken
        return taken


@pytest.fixture(scope="module")
def sql(module_database_url: str) -> Iterator[Any]:
    with asyncio.Runner(loop_factory=asyncio.new_event_loop) as runner:
        connection = runner.run(asyncpg.connect(module_database_url))
        yield lambda query, *values: runner.run(connection.fetchval(query, *values))
        runner.run(connection.close())


@pytest.mark.parametrize("text", ["1/s", "3/s", "100/min", "7/h", "1000/s", "11/13s"])
def test_the_sql_never_gives_more_than_a_bucket_in_fractions_and_is_never_a_whole_start_behind(
    sql: Any, text: str
) -> None:
    chance = random.Random(text)
    rate = parse(text, burst=chance.choice([None, 1]))
    bucket, full_at, moment = Bucket(rate), None, NOW
    one = timedelta(seconds=rate.period / rate.starts)
    given = allowed = 0
    for _ in range(150):
        passed = one * chance.choice([0.01, 0.3, 1, 1, 2.5, 2 * rate.at_once])
        moment += passed
        numbers = (rate.starts, rate.period, rate.burst, full_at, moment)
        taken = sql("SELECT jobservice.rate_room($1, $2, $3, $4, $5)", *numbers)
        full_at = sql("SELECT jobservice.rate_spent($1, $2, $3, $4, $5, $6)", *numbers, taken)
        given, allowed = given + taken, allowed + bucket.take(passed, rate.starts)
        assert 0 <= allowed - given <= 1
        if taken == 0:
            next_at = sql("SELECT jobservice.rate_next($1, $2, $3, $4, $5)", *numbers)
            at_it = sql(
                "SELECT jobservice.rate_room($1, $2, $3, $4, $5)", *numbers[:4], next_at + timedelta(microseconds=1)
            )
            before = sql(
                "SELECT jobservice.rate_room($1, $2, $3, $4, $5)", *numbers[:4], next_at - timedelta(microseconds=1)
            )
            assert (before, at_it) == (0, 1)


@pytest.mark.parametrize(
    ("columns", "legal"),
    [
        ({"rate": 1}, True),
        ({"rate": 0}, False),
        ({"rate": -1}, False),
        ({"rate": 5, "rate_period": 0}, False),
        ({"rate": 5, "rate_period": float("nan")}, False),
        ({"rate": 5, "rate_burst": 6}, False),
        ({"rate": 5, "rate_burst": 5}, True),
        ({"events": "some"}, False),
    ],
)
async def test_what_makes_no_sense_cannot_be_set_by_sql_either(
    connection: asyncpg.Connection, columns: dict[str, Any], legal: bool
) -> None:
    words = ", ".join(columns)
    places = ", ".join(f"${n}" for n in range(1, len(columns) + 1))
    insert = f"INSERT INTO jobservice.queue (queue, {words}) VALUES ('q', {places})"

    if legal:
        await connection.execute(insert, *columns.values())
    else:
        with pytest.raises(asyncpg.CheckViolationError):
            await connection.execute(insert, *columns.values())
