"""Schedules are kept: what is refused at the door, what a pause means, and what the configuration may change."""

from datetime import timedelta
from typing import Any

import pytest
from scheduled import JOB, Schedules, define

from jobservice.domain.errors import InvalidSubmission, NotLegal, UnknownSchedule
from jobservice.schedules.table import Configured


@pytest.mark.parametrize(
    ("field", "fields"),
    [
        ("name", {"name": "a.b"}),
        ("tenant", {"tenant": ""}),
        ("cron", {"cron": "61 * * * *"}),
        ("cron", {"cron": "* * * * *", "every": 5}),
        ("every", {"every": 0}),
        ("time_zone", {"time_zone": "Mars"}),
        ("catch_up_within", {"catch_up_within": -1}),
        ("job", {"job": None}),
        ("job_class", {"job": {}}),
        ("queue", {"job": {**JOB, "queue": "a b"}}),
        ("status", {"job": {**JOB, "status": "PENDING"}}),
        ("idempotency_key", {"job": {**JOB, "idempotency_key": "k"}}),
        ("tenant", {"job": {**JOB, "tenant": "other"}}),
        ("overlap", {"job": {**JOB, "concurrency_key": "k"}, "overlap": "queue"}),
        ("parameters.day", {"job": {**JOB, "parameters": {"day": "{date}"}}}),
        ("description", {"job": {**JOB, "description": "{fire_date:nonsense}"}}),
        ("stages", {"pipeline": {"name": "books", "stages": [{"jobs": [{"priority": "x"}]}]}}),
    ],
)
async def test_what_is_wrong_is_refused_at_the_door_and_the_field_named(
    schedules: Schedules, field: str, fields: dict[str, Any]
) -> None:
    with pytest.raises(InvalidSubmission) as refused:
        await schedules.add(**fields)

    assert (refused.value.field or "").startswith(field)
    assert await schedules.table.find(schedules.connection) == []
    assert await schedules.jobs() == []


async def test_a_name_is_taken_once_unless_it_is_to_be_replaced(schedules: Schedules) -> None:
    await schedules.add(every=60)

    with pytest.raises(NotLegal, match="replace"):
        await schedules.add(every=120)
    assert (await schedules.add(every=120, replace=True)).every == 120


async def test_a_change_that_leaves_the_timing_keeps_the_next_date_and_another_timing_begins_anew(
    schedules: Schedules,
) -> None:
    await schedules.add(every=3600)
    late = await schedules.outage(hours=1)

    same = await schedules.add(every=3600, overlap="skip", replace=True)
    other = await schedules.add(every=7200, replace=True)

    assert (same.next_fire_date, same.overlap) == (late, "skip")
    assert other.next_fire_date is not None
    assert other.next_fire_date > late + timedelta(hours=2)


async def test_what_a_paused_schedule_would_have_fired_is_not_missed(schedules: Schedules) -> None:
    await schedules.add(catch_up="all")
    await schedules.table.pause(schedules.connection, "acme", "nightly")
    await schedules.outage(hours=5)

    await schedules.table.resume(schedules.connection, "acme", "nightly")

    assert (await schedules.fire()).ticks == 0
    row = await schedules.get()
    assert (row.paused, row.missed) == (False, 0)


async def test_a_name_that_is_not_there_is_told(schedules: Schedules) -> None:
    table, connection = schedules.table, schedules.connection

    for act in (table.pause, table.resume, table.remove, table.run_now, table.get):
        with pytest.raises(UnknownSchedule):
            await act(connection, "acme", "nowhere")


async def test_the_next_dates_are_those_of_the_clock_of_its_zone(schedules: Schedules) -> None:
    await schedules.add(cron="30 2 * * *", time_zone="Europe/Berlin", paused=True)

    dates = await schedules.table.next_dates(schedules.connection, "acme", "nightly", 400)

    assert len(dates) == len(set(dates)) == 400
    assert {date.strftime("%H:%M") for date in dates} == {"00:30", "01:30", "01:00"}


async def test_a_class_that_no_living_daemon_of_its_queue_knows_is_told(schedules: Schedules) -> None:
    await schedules.add("known")
    await schedules.add("unknown", job={**JOB, "queue": "elsewhere"})
    await schedules.connection.execute(
        "INSERT INTO jobservice.daemon (id, host, pid, version, queues, job_classes, capacity) "
        "VALUES (gen_random_uuid(), 'h', 1, '1', '{default}', '{Nap}', 1)"
    )

    rows = await schedules.table.find(schedules.connection)

    assert {row.name: row.class_known for row in rows} == {"known": True, "unknown": False}


# ---------------------------------------------------------------------------------------------- from the configuration


async def configure(
    schedules: Schedules, *names: str, queues: tuple[str, ...] = ("default",), **fields: Any
) -> Configured:
    definitions = [define(name, **fields) for name in names]
    return await schedules.table.configure(schedules.connection, definitions, queues=queues)


async def test_what_the_file_says_is_there_changed_with_it_and_paused_when_it_is_gone(schedules: Schedules) -> None:
    first = await configure(schedules, "a", "b")
    again = await configure(schedules, "a", "b")
    without = await configure(schedules, "a", every=60)

    assert first.added == ["acme/a", "acme/b"]
    assert (again.added, again.changed, again.removed) == ([], [], [])
    assert (without.changed, without.removed) == (["acme/a"], ["acme/b"])
    assert (await schedules.get("b")).pause_reason == "removed"
    assert ((await schedules.get("a")).every, (await schedules.get("a")).source) == (60, "config")


async def test_what_comes_back_into_the_file_fires_again_but_a_users_pause_stays(schedules: Schedules) -> None:
    await configure(schedules, "gone", "paused")
    await schedules.table.pause(schedules.connection, "acme", "paused")
    await configure(schedules, "paused")

    await configure(schedules, "gone", "paused")

    assert (await schedules.get("gone")).paused is False
    assert (await schedules.get("paused")).pause_reason == "user"


async def test_daemons_of_other_queues_have_files_of_their_own(schedules: Schedules) -> None:
    await configure(schedules, "mine", queues=("b", "a"))

    await configure(schedules, "theirs", queues=("c",))
    await configure(schedules, "mine", queues=("a", "b"))

    assert {row.name: row.paused for row in await schedules.table.find(schedules.connection)} == {
        "mine": False,
        "theirs": False,
    }


async def test_a_users_schedule_of_the_same_name_stays_and_that_is_told(schedules: Schedules) -> None:
    await schedules.add("a", every=60)

    found = await configure(schedules, "a")

    assert found.taken == ["acme/a"]
    assert ((await schedules.get("a")).every, (await schedules.get("a")).source) == (60, "user")


async def test_a_restart_with_the_same_file_misses_nothing(schedules: Schedules) -> None:
    await configure(schedules, "nightly")
    await schedules.outage(hours=1.5)

    await configure(schedules, "nightly")

    assert (await schedules.fire()).ticks == 1


async def test_what_belongs_to_the_file_is_neither_replaced_nor_removed_by_hand(schedules: Schedules) -> None:
    await configure(schedules, "nightly")

    with pytest.raises(NotLegal, match="configuration"):
        await schedules.add(replace=True)
    with pytest.raises(NotLegal, match="configuration"):
        await schedules.table.remove(schedules.connection, "acme", "nightly")

    await configure(schedules)
    await schedules.table.remove(schedules.connection, "acme", "nightly")
    assert await schedules.table.find(schedules.connection) == []
