"""Schedules fired by daemons: on time, once however many, from the configuration, and after nobody was there."""

import json
import signal
from datetime import timedelta
from itertools import pairwise
from typing import Any

from daemons import Books, Daemons, Processes, until

NO_OP = {"job_class": "NoOp"}


async def ticks(books: Books) -> list[dict[str, Any]]:
    rows = await books.connection.fetch(
        "SELECT user_metadata FROM jobservice.job_info WHERE user_metadata ? 'schedule' ORDER BY number"
    )
    return [json.loads(row["user_metadata"]) for row in rows]


async def test_three_daemons_fire_each_tick_once_and_within_moments_of_its_date(daemons: Daemons, books: Books) -> None:
    section = {"schedule": {"often": {**NO_OP, "cron": "* * * * * *", "catch_up": "all"}}}
    for _ in range(3):
        await daemons.start(**section)
    delays = "SELECT min(created_date - (user_metadata ->> 'fire_date')::timestamptz) FROM jobservice.job_info"

    async def five_ticks_and_one_in_time() -> bool:  # a busy machine makes some of them late
        return len(await ticks(books)) >= 5 and await books.value(delays) < timedelta(seconds=0.5)

    await until(five_ticks_and_one_in_time, "five seconds have been fired")
    for running in daemons.running:
        await running.leave()

    dates = [tick["fire_date"] for tick in await ticks(books)]
    assert len(set(dates)) == len(dates)
    row = await books.connection.fetchrow("SELECT fired, missed, source FROM jobservice.schedule")
    assert (row["fired"], row["missed"], row["source"]) == (len(dates), 0, "config")
    assert timedelta(0) <= await books.value(delays)


async def test_a_new_schedule_is_fired_by_a_daemon_that_sleeps(daemons: Daemons, books: Books) -> None:
    await daemons.start(daemon={"poll": 60.0, "heartbeat": 10.0, "lease": 30.0})

    await books.connection.execute(
        """INSERT INTO jobservice.schedule (tenant, name, job, every, next_fire_date)
           VALUES ('acme', 'x', $1, 3600, now())""",
        json.dumps(NO_OP),
    )
    await books.connection.execute("SELECT jobservice.announce_fire_date(now())")

    async def succeeded() -> bool:
        return bool(await books.value("SELECT EXISTS (SELECT FROM jobservice.job_info WHERE status = 'SUCCEEDED')"))

    await until(succeeded, "the tick's job has run", seconds=20)


async def test_what_the_configuration_drops_is_paused_at_the_next_start(daemons: Daemons, books: Books) -> None:
    first = await daemons.start(schedule={"gone": {**NO_OP, "every": 3600}, "kept": {**NO_OP, "every": 3600}})
    await first.leave()

    await daemons.start(schedule={"kept": {**NO_OP, "every": 3600}})

    rows = await books.connection.fetch("SELECT name, pause_reason FROM jobservice.schedule ORDER BY name")
    assert [tuple(row) for row in rows] == [("gone", "removed"), ("kept", None)]


async def test_daemons_that_are_killed_and_started_again_fire_each_tick_once_and_lose_none(
    processes: Processes, books: Books
) -> None:
    for name in ("a", "b", "c"):
        await books.connection.execute(
            """INSERT INTO jobservice.schedule (tenant, name, job, every, catch_up, next_fire_date)
               VALUES ('acme', $1, $2, 1, 'all', date_trunc('second', now()))""",
            name, json.dumps(NO_OP),
        )  # fmt: skip

    for _ in range(3):
        process = await processes.start()
        before = await books.value("SELECT max(fired) FROM jobservice.schedule")

        async def has_fired(before: int = before) -> bool:
            return bool(await books.value("SELECT min(fired) > $1 FROM jobservice.schedule", before))

        await until(has_fired, "each schedule has fired more than any had before")
        process.send(signal.SIGKILL)
        await process.ended()

    found = [(tick["schedule"], tick["fire_date"]) for tick in await ticks(books)]
    assert len(set(found)) == len(found)
    rows = await books.connection.fetch(
        """SELECT s.fired, s.missed, extract(epoch FROM s.next_fire_date - f.first)::integer AS seconds
           FROM jobservice.schedule s, LATERAL (
             SELECT min((j.user_metadata ->> 'fire_date')::timestamptz) AS first FROM jobservice.job_info j
             WHERE j.user_metadata ->> 'schedule' = s.name) f"""
    )
    assert [(row["fired"], row["missed"]) for row in rows] == [(row["seconds"], 0) for row in rows]


async def test_pipelines_of_a_schedule_follow_each_other_over_daemons_that_are_killed(
    processes: Processes, books: Books
) -> None:
    stages = [{"name": name, "job_class": "NoOp", "jobs": [{}, {}]} for name in ("first", "second")]
    await books.connection.execute(
        """INSERT INTO jobservice.schedule (tenant, name, pipeline, every, overlap, catch_up, next_fire_date)
           VALUES ('acme', 'x', $1, 2, 'queue', 'all', date_trunc('second', now()) - interval '5 minutes')""",
        json.dumps({"name": "books", "stages": stages}),
    )
    watchful = {"daemon__lease": 3.0, "daemon__max_lost_runs": 10}  # what a killed one ran is waited for
    second = await processes.start(**watchful)

    for _ in range(2):
        first, second = second, await processes.start(**watchful)
        before = await books.value("SELECT fired FROM jobservice.schedule")

        async def has_fired(before: int = before) -> bool:
            return bool(await books.value("SELECT fired > $1 FROM jobservice.schedule", before + 2))

        await until(has_fired, "three more have been fired")
        first.send(signal.SIGKILL)
        await first.ended()

    async def thirty_ended() -> bool:
        return bool(await books.value("SELECT count(*) >= 30 FROM jobservice.pipeline WHERE status = 'SUCCEEDED'"))

    await until(thirty_ended, "thirty have ended")
    rows = await books.connection.fetch(
        """SELECT (user_metadata ->> 'fire_date')::timestamptz AS date, created_date, stop_date
           FROM jobservice.pipeline ORDER BY created_date"""
    )
    dates = [row["date"] for row in rows]
    assert dates == [dates[0] + n * timedelta(seconds=2) for n in range(len(dates))]
    assert all(after["created_date"] > before["stop_date"] for before, after in pairwise(rows))
    assert await books.value("SELECT missed FROM jobservice.schedule") == 0
