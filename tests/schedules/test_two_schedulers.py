"""Two who fire, on a clock that the test moves, over the nights in which clocks are put forward and back."""

import asyncio
import json
from datetime import UTC, datetime, timedelta

import pytest
from databases import Connect
from scheduled import Clock, Schedules

from jobservice.schedules.firing import Firing

NIGHTS = {
    "spring": (datetime(2026, 3, 28, 12, tzinfo=UTC), ["2026-03-29T03:00:00+02:00"], 24 - 1),
    "autumn": (datetime(2026, 10, 24, 12, tzinfo=UTC), ["2026-10-25T02:30:00+02:00"], 24 + 1),
}


@pytest.mark.parametrize("night", NIGHTS)
async def test_two_schedulers_fire_each_tick_of_such_a_night_once_also_when_one_is_killed(
    schedules: Schedules, clock: Clock, on_the_clock: Connect, night: str
) -> None:
    begin, nightly, hours = NIGHTS[night]
    firing = Firing(schema="jobservice")
    programs = [await on_the_clock(), await on_the_clock()]
    await clock.shows(begin)
    schedules.connection = programs[0]
    await schedules.add("nightly", cron="30 2 * * *", time_zone="Europe/Berlin")
    await schedules.add("hourly", cron="15 * * * *", time_zone="Europe/Berlin")
    day = timedelta(hours=hours)  # as long as the day of that night is, from noon to noon

    moment = begin
    while moment < begin + day:
        moment += timedelta(minutes=5)
        await clock.shows(moment)
        await asyncio.gather(*(firing.fire_due(program) for program in programs))
        if moment == begin + timedelta(hours=13):
            programs[1].terminate()
            programs[1] = await on_the_clock()

    ticks = [json.loads(job["user_metadata"]) for job in await schedules.jobs()]
    found = {name: [tick["fire_date"] for tick in ticks if tick["schedule"] == name] for name in ("nightly", "hourly")}
    assert found["nightly"] == nightly
    assert len(set(found["hourly"])) == len(found["hourly"]) == hours
    row = await schedules.get("hourly")
    assert (row.fired, row.missed) == (hours, 0)
