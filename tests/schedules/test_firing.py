"""Each tick fires exactly once, however many look and whatever dies; late and overlapping ones as the policies say."""

import asyncio
import json
from datetime import UTC, datetime, timedelta

import asyncpg
import pytest
from databases import Connect
from factory import SETTLER, end_other_sessions
from scheduled import JOB, Schedules

from jobservice.domain.errors import JobServiceError
from jobservice.lifecycle.upkeep import Upkeep
from jobservice.schedules.firing import AT_ONCE, Firing
from jobservice.store.failures import CONNECTION_LOST

HOUR = timedelta(hours=1)


async def test_a_due_tick_submits_its_job_with_its_date_and_the_schedule_goes_on(schedules: Schedules) -> None:
    await schedules.add(every=3600, time_zone="Asia/Kathmandu")
    date = await schedules.due()

    fired = await schedules.fire()

    (job,) = await schedules.jobs()
    row = await schedules.get()
    local = date + timedelta(hours=5, minutes=45)
    assert (fired.ticks, job["tenant"], job["job_class"]) == (1, "acme", "Nap")
    assert json.loads(job["parameters"]) == {"day": local.strftime("%Y-%m-%d")}
    assert json.loads(job["user_metadata"])["schedule"] == "nightly"
    assert (row.next_fire_date, row.last_fire_date, row.last_job_id) == (date + HOUR, date, job["id"])
    assert (row.fired, row.missed) == (1, 0)


async def test_what_is_not_due_or_is_paused_fires_nothing(schedules: Schedules) -> None:
    await schedules.add("later")
    await schedules.add("paused", paused=True)
    await schedules.due("paused")

    fired = await schedules.fire()

    assert (fired.ticks, await schedules.jobs()) == (0, [])


async def test_four_who_look_at_once_while_sessions_are_killed_fire_each_tick_once(
    schedules: Schedules, connect: Connect
) -> None:
    names = [f"s{n}" for n in range(30)]
    for name in names:
        await schedules.add(name, catch_up="all", every=600)
        await schedules.outage(hours=2, name=name)
    looked = asyncio.Event()

    async def look_again_and_again() -> None:
        connection = await connect()
        while True:
            try:
                fired = await Firing(schema="jobservice").fire_due(connection)
            except (asyncpg.PostgresError, *CONNECTION_LOST):
                connection = await connect()
                continue
            looked.set()
            if not fired.ticks and not fired.more:
                return

    claimers = [asyncio.create_task(look_again_and_again()) for _ in range(4)]
    for _ in range(6):
        looked.clear()
        await asyncio.wait([*claimers, asyncio.create_task(looked.wait())], return_when=asyncio.FIRST_COMPLETED)
        await end_other_sessions(schedules.connection)
    await asyncio.gather(*claimers)
    # A killed session may have held a row while the last of them looked.
    async with asyncio.timeout(30):
        while any(row.fired == 0 for row in await schedules.table.find(schedules.connection)):
            await schedules.fire()

    ticks = [json.loads(job["user_metadata"]) for job in await schedules.jobs()]
    assert len({(tick["schedule"], tick["fire_date"]) for tick in ticks}) == len(ticks) == 13 * len(names)
    rows = await schedules.table.find(schedules.connection)
    assert {(row.fired, row.missed) for row in rows} == {(13, 0)}


async def test_a_row_that_somebody_fires_is_left_to_him_and_the_others_are_fired(
    schedules: Schedules, connect: Connect
) -> None:
    for name in ("held", "free"):
        await schedules.add(name)
        await schedules.due(name)
    other = await connect()

    async with other.transaction():
        await other.execute("SELECT FROM jobservice.schedule WHERE name = 'held' FOR NO KEY UPDATE")
        fired = await schedules.fire()

    assert fired.ticks == 1
    assert ((await schedules.get("free")).fired, (await schedules.get("held")).fired) == (1, 0)


async def submit_the_same(other: asyncpg.Connection, name: str, date: datetime) -> None:
    """A submission under the key of this tick: whoever submits the tick waits for its end."""
    await other.execute(
        "INSERT INTO jobservice.idempotency_key VALUES ('acme', $1, gen_random_uuid())",
        f"schedule:{name}:{date.astimezone(UTC).isoformat()}",
    )


async def test_who_holds_what_a_tick_needs_holds_up_that_schedule_and_no_other(
    schedules: Schedules, connect: Connect
) -> None:
    await schedules.add("keyed")
    date = await schedules.outage(hours=0.01, name="keyed")
    await schedules.add("free")
    await schedules.due("free")
    other = await connect()

    async with other.transaction():
        await submit_the_same(other, "keyed", date)
        fired = await schedules.fire()

    assert (fired.ticks, fired.passed) == (1, [("acme", "keyed")])
    assert (await schedules.get("keyed")).fired == 0
    assert (await schedules.fire()).ticks == 1


async def test_schedules_that_are_due_together_share_a_transaction(schedules: Schedules) -> None:
    for n in range(AT_ONCE + 5):
        await schedules.add(f"each-{n}")
        await schedules.due(f"each-{n}")
    said: list[str] = []
    schedules.connection.add_query_logger(lambda query: said.append(query.query))

    first, second = await schedules.fire(), await schedules.fire()

    assert (first.ticks, first.more, second.ticks, second.more) == (AT_ONCE, True, 5, False)
    assert said.count("BEGIN;") == 2


async def test_one_that_is_refused_takes_none_of_its_neighbours_ticks_back(schedules: Schedules) -> None:
    for name in ("good", "bad", "better"):
        await schedules.add(name)
        await schedules.due(name)
    await schedules.connection.execute(
        """UPDATE jobservice.schedule SET job = '{"job_class": "no.class"}' WHERE name = 'bad'"""
    )

    fired = await schedules.fire()

    assert (fired.ticks, fired.more) == (2, False)
    found = {name: await schedules.get(name) for name in ("good", "bad", "better")}
    assert {name: (row.fired, row.missed) for name, row in found.items()} == {
        "good": (1, 0), "bad": (0, 1), "better": (1, 0),
    }  # fmt: skip
    assert "job_class" in str(found["bad"].error)
    made = [json.loads(job["user_metadata"])["schedule"] for job in await schedules.jobs()]
    last = {job["id"]: name for job, name in zip(await schedules.jobs(), made, strict=True)}
    assert {name: last[row.last_job_id] for name, row in found.items() if row.fired} == {
        "good": "good", "better": "better",
    }  # fmt: skip


async def test_one_that_must_wait_takes_none_of_its_neighbours_ticks_back(
    schedules: Schedules, connect: Connect
) -> None:
    for name in ("before", "keyed", "behind"):
        await schedules.add(name)
    await schedules.outage(hours=0.015, name="before")
    date = await schedules.outage(hours=0.01, name="keyed")
    await schedules.due("behind")
    other = await connect()

    async with other.transaction():
        await submit_the_same(other, "keyed", date)
        fired = await schedules.fire()

    assert (fired.ticks, fired.passed, fired.more) == (2, [("acme", "keyed")], False)
    assert [(await schedules.get(name)).fired for name in ("before", "keyed", "behind")] == [1, 0, 1]


@pytest.mark.parametrize(
    ("catch_up", "fired", "missed"),
    [("skip", 0, 5), ("once", 1, 4), ("all", 5, 0)],
)
async def test_after_an_outage_the_policy_decides_and_what_was_missed_is_told(
    schedules: Schedules, catch_up: str, fired: int, missed: int
) -> None:
    await schedules.add(catch_up=catch_up)
    date = await schedules.outage(hours=4.5)

    await schedules.fire()

    row = await schedules.get()
    assert (len(await schedules.jobs()), row.fired, row.missed) == (fired, fired, missed)
    assert row.next_fire_date == date + 5 * HOUR
    assert row.last_missed_reason == ("late" if missed else None)
    assert (await schedules.fire()).ticks == 0


async def test_catching_up_goes_on_where_it_stopped(schedules: Schedules) -> None:
    await schedules.add(catch_up="all", catch_up_within=10 * 86_400, every=600)
    await schedules.outage(hours=30)

    first, second = await schedules.fire(), await schedules.fire()

    assert (first.ticks, first.more, second.ticks, second.more) == (100, True, 81, False)
    assert (len(await schedules.jobs()), (await schedules.get()).missed) == (181, 0)


async def test_one_that_catches_up_leaves_the_others_their_turn(schedules: Schedules) -> None:
    await schedules.add("behind", catch_up="all", every=1)
    await schedules.outage(hours=0.5, name="behind")
    for name in ("other", "another"):
        await schedules.add(name)
        await schedules.due(name)

    fired = await schedules.fire()

    assert (fired.ticks, fired.more) == (102, True)
    assert [(await schedules.get(name)).fired for name in ("behind", "other", "another")] == [100, 1, 1]


async def test_skip_misses_a_tick_while_the_last_job_lives_and_fires_the_next_one_after(schedules: Schedules) -> None:
    await schedules.add(overlap="skip")
    await schedules.due()
    await schedules.fire()

    await schedules.due()
    assert (await schedules.fire()).ticks == 0
    row = await schedules.get()
    assert (row.missed, row.last_missed_reason) == (1, "overlap")

    await schedules.end_jobs()
    await schedules.due()
    assert (await schedules.fire()).ticks == 1


async def test_queue_lets_its_jobs_wait_for_each_other_and_allow_does_not(schedules: Schedules) -> None:
    await schedules.add("one_by_one", overlap="queue")
    await schedules.add("at_will")
    for name in ("one_by_one", "at_will"):
        await schedules.due(name)

    await schedules.fire()

    assert {job["concurrency_key"] for job in await schedules.jobs()} == {"schedule:one_by_one", None}


async def test_a_pipeline_is_started_by_its_tick_and_counts_as_its_job(schedules: Schedules) -> None:
    stages = [{"name": "one", "job_class": "Nap", "jobs": [{"parameters": {"day": "{fire_date:%Y}"}}]}]
    await schedules.add(pipeline={"name": "books", "stages": stages}, overlap="skip")
    date = await schedules.due()

    assert (await schedules.fire()).ticks == 1
    (job,) = await schedules.jobs()
    assert (job["status"], json.loads(job["parameters"])) == ("QUEUED", {"day": str(date.year)})
    assert (await schedules.get()).last_pipeline_id == job["pipeline_id"]

    await schedules.due()
    assert (await schedules.fire()).ticks == 0


async def test_what_is_not_accepted_any_more_is_told_and_does_not_stop_the_clock(schedules: Schedules) -> None:
    await schedules.add()
    await schedules.add("other")
    date = await schedules.outage(hours=0.001)
    await schedules.due("other")
    await schedules.connection.execute(
        """UPDATE jobservice.schedule SET job = '{"job_class": "a.b"}' WHERE name = 'nightly'"""
    )

    assert (await schedules.fire()).ticks == 1

    row = await schedules.get()
    assert (row.fired, row.missed, row.last_missed_reason, row.next_fire_date) == (0, 1, "refused", date + HOUR)
    assert "job_class" in (row.error or "")


async def test_a_timing_that_cannot_be_reckoned_pauses_its_schedule_and_no_other(schedules: Schedules) -> None:
    await schedules.add()
    await schedules.add("other")
    await schedules.outage(hours=0.001)
    await schedules.due("other")
    await schedules.connection.execute("UPDATE jobservice.schedule SET time_zone = 'Mars' WHERE name = 'nightly'")

    assert (await schedules.fire()).ticks == 1

    row = await schedules.get()
    assert (row.paused, row.pause_reason) == (True, "broken")
    assert "Mars" in (row.error or "")


async def test_the_same_tick_is_one_job_even_where_the_next_date_is_put_back(schedules: Schedules) -> None:
    await schedules.add()
    date = await schedules.due()
    await schedules.fire()

    await schedules.connection.execute("UPDATE jobservice.schedule SET next_fire_date = $1", date)
    await schedules.fire()

    assert len(await schedules.jobs()) == 1


async def test_run_now_is_a_tick_of_its_own_that_obeys_the_overlap_and_leaves_the_dates(schedules: Schedules) -> None:
    before = await schedules.add(overlap="skip")

    job_id = await schedules.table.run_now(schedules.connection, "acme", "nightly")

    row = await schedules.get()
    assert (row.last_job_id, row.next_fire_date, row.fired) == (job_id, before.next_fire_date, 1)
    assert JOB["parameters"] != json.loads((await schedules.jobs())[0]["parameters"])
    with pytest.raises(JobServiceError, match="has not ended"):
        await schedules.table.run_now(schedules.connection, "acme", "nightly")


async def test_of_thousands_of_schedules_only_those_that_are_due_are_read(schedules: Schedules) -> None:
    await schedules.connection.execute(
        """INSERT INTO jobservice.schedule (tenant, name, job, every, next_fire_date)
           SELECT 'acme', 's' || n, '{"job_class": "Nap"}', 3600, now() + n * interval '1 second' + interval '1 hour'
           FROM generate_series(1, 5000) n"""
    )
    await schedules.add()
    await schedules.due()
    await schedules.connection.execute("VACUUM ANALYZE jobservice.schedule")

    async with schedules.connection.transaction():
        before = await read_by(schedules.connection)
        due = await Upkeep(schema="jobservice", follower=SETTLER).look(schedules.connection)
        fired = await schedules.fire()
        after = await read_by(schedules.connection)

    assert due.next_fire is not None
    assert (due.next_fire <= 0, fired.ticks) == (True, 1)
    assert after["schedule"] == before["schedule"], "the whole table was read"
    assert after["schedule_due"] - before["schedule_due"] <= 10


async def read_by(connection: asyncpg.Connection) -> dict[str, int]:
    """Rows that this transaction has read by each way into the table."""
    rows = await connection.fetch(
        """SELECT relname, pg_stat_get_xact_tuples_returned(oid) AS rows FROM pg_class
           WHERE relname IN ('schedule', 'schedule_due') AND relnamespace = 'jobservice'::regnamespace"""
    )
    return {row["relname"]: row["rows"] for row in rows}
