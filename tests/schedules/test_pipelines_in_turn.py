"""With `overlap = "queue"` pipelines of a schedule follow each other: a tick waits for the last one, and fires once."""

import asyncio
import json
from typing import Any
from uuid import UUID

import pytest
from databases import Connect
from factory import SETTLER
from in_turn import BOOKS, HOUR, NOON, at, end, fired_hours, waiting_hours
from scheduled import JOB, Clock, Schedules

from jobservice.domain.errors import NotLegal
from jobservice.domain.schedules import WAITING_MAX
from jobservice.lifecycle.upkeep import Upkeep

# --------------------------------------------------------------------------------------------------- state by state


async def test_a_tick_waits_while_the_pipeline_before_lives_and_that_is_told(hourly: Schedules, clock: Clock) -> None:
    await at(clock, hourly, 1)

    second, third = await at(clock, hourly, 2), await at(clock, hourly, 3)

    row = await hourly.get()
    assert (second.ticks, third.ticks, await fired_hours(hourly.connection)) == (0, 0, [1])
    assert (row.fired, row.missed, row.waiting, row.waiting_since) == (1, 0, 2, NOON + 2 * HOUR)
    assert (row.next_fire_date, row.last_fire_date) == (NOON + 4 * HOUR, NOON + HOUR)
    assert await waiting_hours(hourly) == [2, 3]


@pytest.mark.parametrize("how", ["SUCCEEDED", "FAILED", "ABORTED", "stopped", "gone"])
async def test_the_oldest_tick_fires_once_the_pipeline_before_has_ended_in_any_way(
    hourly: Schedules, clock: Clock, how: str
) -> None:
    for hour in (1, 2, 3):
        await at(clock, hourly, hour)

    await end(hourly.connection, how)
    fired, again = await hourly.fire(), await hourly.fire()

    row = await hourly.get()
    assert (fired.ticks, again.ticks, (await fired_hours(hourly.connection))[-1]) == (1, 0, 2)
    assert (row.fired, row.missed, row.waiting, await waiting_hours(hourly)) == (2, 0, 1, [3])
    job = (await hourly.jobs())[-1]
    assert (job["pipeline_id"], json.loads(job["parameters"])) == (row.last_pipeline_id, {"hour": "14"})


async def test_ticks_fire_in_the_order_of_their_dates_however_they_came_to_wait(
    hourly: Schedules, clock: Clock
) -> None:
    await at(clock, hourly, 1)
    await clock.shows(NOON + 2.2 * HOUR)
    await hourly.table.run_now(hourly.connection, "acme", "nightly")
    await at(clock, hourly, 3.5)

    order = []
    for _ in range(3):
        await end(hourly.connection)
        await hourly.fire()
        order.append((await hourly.get()).last_fire_date)

    assert order == [NOON + 2 * HOUR, NOON + 2.2 * HOUR, NOON + 3 * HOUR]
    assert (await hourly.get()).waiting == 0


async def test_a_tick_that_finds_nothing_living_fires_at_its_date(hourly: Schedules, clock: Clock) -> None:
    for hour in (1, 2, 3):
        assert (await at(clock, hourly, hour)).ticks == 1
        await end(hourly.connection)

    row = await hourly.get()
    assert (row.fired, row.waiting, await fired_hours(hourly.connection)) == (3, 0, [1, 2, 3])


async def test_after_an_outage_all_ticks_follow_each_other(hourly: Schedules, clock: Clock) -> None:
    await at(clock, hourly, 5.5)
    for _ in range(5):
        await end(hourly.connection)
        await hourly.fire()

    assert await fired_hours(hourly.connection) == [1, 2, 3, 4, 5]
    assert ((await hourly.get()).fired, (await hourly.get()).missed) == (5, 0)


async def test_a_tick_that_has_waited_for_longer_than_late_ticks_may_be_fires_even_so(
    hourly: Schedules, clock: Clock
) -> None:
    await hourly.add(
        pipeline=BOOKS, cron="0 * * * *", overlap="queue", catch_up="skip", catch_up_within=60, replace=True
    )
    await at(clock, hourly, 1)
    await at(clock, hourly, 2)
    await clock.shows(NOON + 2.9 * HOUR)

    await end(hourly.connection)

    assert (await hourly.fire()).ticks == 1
    assert await fired_hours(hourly.connection) == [1, 2]


async def fill(schedules: Schedules, count: int) -> None:
    """So many ticks wait, of the hours before noon."""
    await schedules.connection.execute(
        """INSERT INTO jobservice.waiting_tick (tenant, schedule, key, fire_date)
           SELECT 'acme', 'nightly', 'k' || n, $1::timestamptz - n * interval '1 hour'
           FROM generate_series(1, $2::integer) n""",
        NOON, count,
    )  # fmt: skip
    await schedules.connection.execute("UPDATE jobservice.schedule SET waiting = $1", count)


async def test_what_comes_when_too_many_wait_is_missed_and_told(hourly: Schedules, clock: Clock) -> None:
    await at(clock, hourly, 1)
    await fill(hourly, WAITING_MAX)

    await at(clock, hourly, 2)

    row = await hourly.get()
    assert (row.waiting, row.missed, row.last_missed_reason) == (WAITING_MAX, 1, "overlap")
    assert row.last_missed_date == NOON + 2 * HOUR
    assert row.troubles == ["1,000 ticks wait, more are missed"]
    with pytest.raises(NotLegal, match="1000 of its ticks wait"):
        await hourly.table.run_now(hourly.connection, "acme", "nightly")


async def test_a_tick_that_is_refused_when_its_turn_comes_is_missed_and_the_next_one_has_its_turn(
    hourly: Schedules, clock: Clock
) -> None:
    for hour in (1, 2, 3):
        await at(clock, hourly, hour)
    await hourly.connection.execute("""UPDATE jobservice.schedule SET pipeline = '{"name": "a.b"}'""")
    await end(hourly.connection)

    await hourly.fire()

    row = await hourly.get()
    assert (row.fired, row.missed, row.last_missed_reason, row.waiting) == (1, 2, "refused", 0)
    assert "name" in str(row.error)


# ------------------------------------------------------------------------------------------------- what a user does


async def test_ticks_wait_through_a_pause_and_fire_after_it(hourly: Schedules, clock: Clock) -> None:
    await at(clock, hourly, 1)
    await at(clock, hourly, 2)
    await hourly.table.pause(hourly.connection, "acme", "nightly")
    await end(hourly.connection)

    assert ((await at(clock, hourly, 3)).ticks, await waiting_hours(hourly)) == (0, [2])

    await hourly.table.resume(hourly.connection, "acme", "nightly")
    assert ((await hourly.fire()).ticks, await fired_hours(hourly.connection)) == (1, [1, 2])


async def test_ticks_go_with_a_schedule_that_is_removed_and_do_not_come_back_with_its_name(
    hourly: Schedules, clock: Clock
) -> None:
    for hour in (1, 2, 3):
        await at(clock, hourly, hour)

    assert await hourly.table.remove(hourly.connection, "acme", "nightly") == 2

    await hourly.add(pipeline=BOOKS, cron="0 * * * *", overlap="queue")
    await end(hourly.connection)
    assert ((await hourly.fire()).ticks, (await hourly.get()).waiting) == (0, 0)


async def test_ticks_of_a_changed_schedule_fire_as_it_says_then_with_their_own_dates(
    hourly: Schedules, clock: Clock
) -> None:
    for hour in (1, 2):
        await at(clock, hourly, hour)

    await hourly.add(pipeline={**BOOKS, "name": "other"}, every=7200, overlap="queue", replace=True)
    await end(hourly.connection)
    await hourly.fire()

    names = await hourly.connection.fetch("SELECT name FROM jobservice.pipeline ORDER BY created_date, id")
    assert [row["name"] for row in names] == ["books", "other"]
    assert await fired_hours(hourly.connection) == [1, 2]


@pytest.mark.parametrize(
    ("change", "fired", "missed"),
    [
        ({"pipeline": BOOKS, "overlap": "allow"}, [1, 2, 3, 4], 0),
        ({"pipeline": BOOKS, "overlap": "skip"}, [1], 3),
        ({"job": JOB, "overlap": "queue"}, [1], 0),
    ],
)
async def test_ticks_of_a_schedule_that_lets_none_wait_any_more_fire_or_are_missed_at_the_next_look(
    hourly: Schedules, clock: Clock, change: dict[str, Any], fired: list[int], missed: int
) -> None:
    for hour in (1, 2, 3):
        await at(clock, hourly, hour)
    await hourly.add(cron="0 * * * *", replace=True, catch_up="all", **change)

    await at(clock, hourly, 4)

    row = await hourly.get()
    assert (await fired_hours(hourly.connection), row.missed, row.waiting) == (fired, missed, 0)
    days = [json.loads(job["user_metadata"])["fire_date"] for job in await hourly.jobs() if job["pipeline_id"] is None]
    assert days == ([(NOON + n * HOUR).isoformat() for n in (2, 3, 4)] if "job" in change else [])


async def test_run_now_waits_for_its_turn_and_the_same_message_twice_waits_once(
    hourly: Schedules, clock: Clock
) -> None:
    await at(clock, hourly, 1)
    run_now, connection = hourly.table.run_now, hourly.connection

    waits = [await run_now(connection, "acme", "nightly", key="run:m") for _ in range(2)]
    waiting = (await hourly.get()).waiting
    await end(connection)
    await hourly.fire()
    again = await run_now(connection, "acme", "nightly", key="run:m")

    row = await hourly.get()
    assert (waits, waiting, row.waiting, row.fired) == ([None, None], 1, 0, 2)
    assert again == row.last_pipeline_id
    assert len(await fired_hours(connection)) == 2


async def test_run_now_that_finds_nothing_living_is_submitted_at_once(hourly: Schedules) -> None:
    made = await hourly.table.run_now(hourly.connection, "acme", "nightly")

    assert isinstance(made, UUID)
    assert ((await hourly.get()).last_pipeline_id, (await hourly.get()).waiting) == (made, 0)


async def test_the_last_pipeline_is_waited_for_again_when_it_is_restarted(hourly: Schedules, clock: Clock) -> None:
    await at(clock, hourly, 1)
    await end(hourly.connection, "stopped")
    await hourly.connection.execute(
        "SELECT FROM jobservice.command_pipelines(ARRAY(SELECT id FROM jobservice.pipeline), 'restart')"
    )

    await at(clock, hourly, 2)

    assert (await fired_hours(hourly.connection), await waiting_hours(hourly)) == ([1], [2])


# ---------------------------------------------------------------------------------------------------- who looks when


async def test_the_end_of_a_pipeline_wakes_the_daemons_where_a_tick_waits_for_it_and_nowhere_else(
    hourly: Schedules, clock: Clock, connect: Connect
) -> None:
    listening, woken = await connect(), asyncio.Queue[str]()
    await listening.add_listener("jobservice_due", lambda *_: woken.put_nowait("due"))
    await listening.add_listener("done", lambda *_: woken.put_nowait("done"))
    other = await connect()

    heard = []
    for hour in (1, 2):
        await at(clock, hourly, hour)
        await end(other, "stopped")
        await other.execute("NOTIFY done")
        said = [await asyncio.wait_for(woken.get(), 30)]
        while said[-1] != "done":
            said.append(await asyncio.wait_for(woken.get(), 30))
        heard.append(said)
        if hour == 1:
            await hourly.table.run_now(hourly.connection, "acme", "nightly")

    assert heard == [["done"], ["due", "done"]]


async def test_a_look_asks_for_ticks_that_wait_for_nothing_any_more_and_reads_no_other_schedule(
    hourly: Schedules, clock: Clock, connect: Connect
) -> None:
    await hourly.connection.execute(
        """INSERT INTO jobservice.schedule (tenant, name, job, every, next_fire_date)
           SELECT 'acme', 's' || n, '{"job_class": "Nap"}', 3600, now() + interval '100 years'
           FROM generate_series(1, 5000) n"""
    )
    await hourly.connection.execute("VACUUM ANALYZE jobservice.schedule")
    upkeep, looking = Upkeep(schema="jobservice", follower=SETTLER), await connect()
    await at(clock, hourly, 1)
    await at(clock, hourly, 2)
    await hourly.connection.execute("UPDATE jobservice.schedule SET next_fire_date = NULL WHERE name = 'nightly'")

    lives = (await upkeep.look(looking)).next_fire
    await end(hourly.connection)
    read = "SELECT seq_tup_read FROM pg_stat_xact_user_tables WHERE relname = 'schedule'"
    async with looking.transaction():
        ended = (await upkeep.look(looking)).next_fire
        rows = await looking.fetchval(read)

    assert (lives is not None and lives > 0, ended, rows) == (True, 0, 0)
