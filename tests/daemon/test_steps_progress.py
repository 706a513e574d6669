"""How far a job is while the parts of its step run as jobs of their own."""

from uuid import UUID

import asyncpg
from daemons import Daemons, until
from step_tables import StepTables

from jobservice.lifecycle.commands import Commands

TELL = "SELECT jobservice.tell_parents(ARRAY(SELECT id FROM jobservice.pipeline))"
DONE = "SELECT progress_done FROM jobservice.job_info WHERE id = $1"
READ_MORE = "UPDATE jobservice.step_execution SET read = read + 1 WHERE part >= 0"
LONG_AGO = "UPDATE jobservice.step_execution SET told_at = told_at - interval '1 hour' WHERE part = -1"


async def is_told(tables: StepTables, job_id: UUID, done: int) -> asyncpg.Record:
    """The job's row once so many items are told."""

    async def told() -> asyncpg.Record | None:
        job = await tables.job(job_id)
        return job if job["progress_done"] == done and job["held"] == "parts" else None

    return await until(told, f"{done} items are told")


async def says(tables: StepTables, job_id: UUID, message: str) -> asyncpg.Record:
    """The job's row once this is its message."""

    async def told() -> asyncpg.Record | None:
        job = await tables.job(job_id)
        return job if job["progress_message"] == message else None

    return await until(told, message)


async def stand_at_doors(tables: StepTables) -> None:
    """Waits until each of the eight parts has committed one chunk, and the starts of all of them are written."""
    await tables.copied(95 + 8 * 3)

    async def run() -> bool:
        return int(await tables.value("SELECT count(*) FROM jobservice.job_info WHERE status = 'RUNNING'")) == 8

    await until(run, "all parts run")


async def test_a_job_tells_how_far_it_is_while_its_parts_run_on_several_daemons(
    daemons: Daemons, tables: StepTables
) -> None:
    await daemons.start(pool={"capacity": 5})
    await daemons.start(pool={"capacity": 5})
    job_id = await tables.submit("CountsInParts")

    await tables.open_door()
    first = await is_told(tables, job_id, 95 + 8 * 3)
    await tables.open_door()
    second = await is_told(tables, job_id, 95 + 8 * 6)
    await tables.open_door(100)
    last = await tables.is_in(job_id, "SUCCEEDED", "FAILED")

    # Two of three steps are begun, of 95 items each.
    assert (first["progress_total"], first["percent_completed"]) == (285, 41)
    assert first["progress_message"] == "copy: 24 of 95 read, 0 of 8 parts done"
    assert (second["progress_total"], second["percent_completed"]) == (285, 50)
    assert second["estimated_completion"] is not None
    assert last["status"] == "SUCCEEDED", last["error_message"]
    assert last["estimated_completion"] is None


async def test_a_job_that_has_succeeded_tells_all_that_was_done_also_behind_the_last_tick(
    daemons: Daemons, tables: StepTables
) -> None:
    await daemons.start(jobs={"completion_update_interval": 3600.0})

    job = await tables.is_in(await tables.submit("Copies"), "SUCCEEDED", "FAILED")

    assert (job["progress_done"], job["progress_total"], job["progress_message"]) == (95, 95, "copy: 95 of 95")


async def test_parts_that_have_ended_say_how_much_there_is_where_nothing_counts_it(
    daemons: Daemons, tables: StepTables
) -> None:
    await daemons.start()
    job_id = await tables.submit("HalfWaitsForDoor")

    # The last items of a part are committed before it has ended, so they may be told before.
    told = await says(tables, job_id, "copy: 48 of 96 read, 4 of 8 parts done")

    # Nothing is known of the four that wait, so they are taken to be as long as the others.
    assert (told["progress_done"], told["progress_total"], told["percent_completed"]) == (4 * 12, 8 * 12, 50)


async def test_of_parts_of_which_nothing_is_known_the_message_alone_tells(daemons: Daemons, tables: StepTables) -> None:
    await daemons.start()
    job_id = await tables.submit("PartsWaitForDoors")
    await tables.open_door()

    told = await says(tables, job_id, "copy: 24 read, 0 of 8 parts done")

    assert (told["percent_completed"], told["progress_total"]) == (0, None)


async def test_a_job_that_was_stopped_is_told_of_no_more(daemons: Daemons, tables: StepTables) -> None:
    await daemons.start(pool={"stop_grace": 60.0})
    job_id = await tables.submit("CountsInParts")
    await tables.open_door()
    await is_told(tables, job_id, 95 + 8 * 3)

    await tables.stop(job_id)
    stopped = await tables.job(job_id)
    await tables.connection.execute(LONG_AGO)
    await tables.connection.execute(READ_MORE)
    await tables.connection.execute(TELL)

    assert await tables.job(job_id) == stopped
    assert stopped["estimated_completion"] is None
    await tables.open_door(100)
    await tables.all_final()


async def test_who_tells_waits_for_nobody_and_what_was_left_out_is_told_later(
    daemons: Daemons, tables: StepTables, database_url: str
) -> None:
    await daemons.start(jobs={"completion_update_interval": 3600.0})
    job_id = await tables.submit("CountsInParts")
    await tables.open_door()
    await stand_at_doors(tables)
    other = await asyncpg.connect(database_url)
    before = await tables.value(DONE, job_id)

    for held in ("job_info WHERE held = 'parts'", "pipeline", "step_execution WHERE part = -1"):
        await tables.connection.execute(READ_MORE)
        await tables.connection.execute(LONG_AGO)
        async with other.transaction():
            await other.execute(f"SELECT FROM jobservice.{held} FOR NO KEY UPDATE")
            await tables.connection.execute(f"SET statement_timeout = '5s'; {TELL}")
            assert await tables.value(DONE, job_id) == before, held
    await other.close()
    await tables.connection.execute(TELL)

    assert await tables.value(DONE, job_id) == 95 + 8 * (3 + 3)
    await tables.open_door(100)
    await tables.all_final()


async def test_it_is_told_at_most_once_a_second(daemons: Daemons, tables: StepTables) -> None:
    await daemons.start(jobs={"completion_update_interval": 3600.0})
    job_id = await tables.submit("CountsInParts")
    await tables.open_door()
    await stand_at_doors(tables)
    await tables.connection.execute(LONG_AGO)

    await tables.connection.execute(TELL)
    # No clock of this test: the moment of the telling is put ahead of it, as if the next came within the second.
    await tables.connection.execute(
        f"{READ_MORE}; UPDATE jobservice.step_execution SET told_at = told_at + interval '1 hour'"
    )
    await tables.connection.execute(TELL)

    assert await tables.value(DONE, job_id) == 95 + 8 * 3
    await tables.open_door(100)
    await tables.all_final()


async def test_a_job_that_is_restarted_tells_from_the_beginning_what_stands(
    daemons: Daemons, tables: StepTables
) -> None:
    await daemons.start(pool={"stop_grace": 60.0})
    job_id = await tables.submit("CountsInParts")
    await tables.open_door(2)
    await is_told(tables, job_id, 95 + 8 * 6)
    await tables.stop(job_id)
    async with tables.connection.transaction():  # or a daemon may have gone on before the look
        await Commands().restart(tables.connection, [job_id])
        restarted = await tables.job(job_id)

    await tables.open_door()

    told = await is_told(tables, job_id, 95 + 8 * 9)
    assert (restarted["percent_completed"], told["percent_completed"]) == (0, 58)
    await tables.open_door(100)
    await tables.is_in(job_id, "SUCCEEDED")
