"""Each tick of pipelines that follow each other fires once, whoever looks and whoever is killed meanwhile."""

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress

import asyncpg
from databases import Connect
from in_turn import HOUR, NOON, at, end, fired_hours, waiting_hours
from scheduled import Clock, Schedules

from jobservice.schedules.firing import Firing
from jobservice.store.failures import CONNECTION_LOST


async def test_two_schedulers_fire_each_tick_once_and_one_by_one_also_when_one_is_killed(
    hourly: Schedules, clock: Clock, on_the_clock: Connect
) -> None:
    firing = Firing(schema="jobservice")
    programs = [await on_the_clock(), await on_the_clock()]
    live = "SELECT count(*) FROM jobservice.pipeline WHERE stop_date IS NULL"

    most = 0
    for quarter in range(1, 97):
        await clock.shows(NOON + quarter * HOUR / 4)
        await asyncio.gather(*(firing.fire_due(program) for program in programs))
        most = max(most, await hourly.connection.fetchval(live))
        if quarter % 7 == 0 or quarter > 60:
            await end(hourly.connection)
        if quarter % 20 == 0:
            programs[1].terminate()
            programs[1] = await on_the_clock()

    row = await hourly.get()
    assert most == 1
    assert await fired_hours(hourly.connection) == list(range(1, 25))
    assert (row.fired, row.missed, row.waiting) == (24, 0, 0)


async def killed_look(program: asyncpg.Connection, behind: int) -> bool:
    """A look whose program dies behind so many of its statements; False where it was over before."""
    count = 0

    def kill(_: object) -> None:
        nonlocal count
        count += 1
        if count == behind:
            program.terminate()

    program.add_query_logger(kill)
    with suppress(asyncpg.PostgresError, asyncpg.InterfaceError, *CONNECTION_LOST):
        await Firing(schema="jobservice").fire_due(program)
    return count >= behind


async def look_until(schedules: Schedules, claim: Callable[[], Awaitable[bool]]) -> None:
    """A killed session may hold the row for a moment still."""
    async with asyncio.timeout(30):
        while not await claim():
            await schedules.fire()


async def test_a_look_that_is_killed_behind_any_of_its_statements_leaves_a_tick_that_fires_once(
    hourly: Schedules, clock: Clock, on_the_clock: Connect
) -> None:
    await at(clock, hourly, 1)
    behind, killed = 0, True

    while killed:
        behind += 1
        await at(clock, hourly, behind + 1)
        await end(hourly.connection)
        killed = await killed_look(await on_the_clock(), behind)

        async def fired(ticks: int = behind + 1) -> bool:
            return len(await fired_hours(hourly.connection)) >= ticks

        await look_until(hourly, fired)

    row = await hourly.get()
    assert behind > 8
    assert await fired_hours(hourly.connection) == list(range(1, behind + 2))
    assert (row.fired, row.missed, row.waiting) == (behind + 1, 0, 0)


async def test_a_look_that_is_killed_behind_any_of_its_statements_leaves_a_tick_that_waits_once(
    hourly: Schedules, clock: Clock, on_the_clock: Connect
) -> None:
    await at(clock, hourly, 1)
    behind, killed = 0, True

    while killed:
        behind += 1
        await clock.shows(NOON + (behind + 1) * HOUR)
        killed = await killed_look(await on_the_clock(), behind)

        async def waits(ticks: int = behind) -> bool:
            return len(await waiting_hours(hourly)) >= ticks

        await look_until(hourly, waits)

    row = await hourly.get()
    assert behind > 8
    assert await waiting_hours(hourly) == list(range(2, behind + 2))
    assert (row.fired, row.missed, row.waiting) == (1, 0, behind)
