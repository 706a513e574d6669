"""Steps in parts: any number of items, one daemon killed in the middle, stopped and restarted while parts end."""

import random
import signal

from daemons import Daemons, Processes, until
from step_tables import StepTables

from jobservice.lifecycle.commands import Commands

WATCHFUL = {"daemon__lease": 2.0, "daemon__max_lost_runs": 10}
"""Of the survivor, which may take a stall of the other for a death; the other one's lease is long."""


async def test_any_number_of_items_in_ten_parts_is_copied_once_and_aggregated_once(
    daemons: Daemons, tables: StepTables
) -> None:
    await daemons.start()

    for items, parts in ((0, 0), (1, 1), (3, 3), (20, 10), (25, 9)):
        await tables.connection.execute("TRUNCATE source, target, tally")
        await tables.connection.execute("INSERT INTO source SELECT n, n FROM generate_series(1, $1::integer) n", items)
        job_id = await tables.submit("CopiesInTenParts", {"batch": items})

        job = await tables.is_in(job_id, "SUCCEEDED", "FAILED", "ABORTED")
        assert job["status"] == "SUCCEEDED", job["stack_trace"]
        assert await tables.all_copied() == f"{items} {items}"
        assert await tables.value("SELECT array_agg(value) FROM tally") == [items]
        rows = """SELECT count(*) FROM jobservice.step_execution x JOIN jobservice.job_execution e USING (instance_id)
                  WHERE e.job_id = $1 AND x.part >= 0"""
        assert await tables.value(rows, job_id) == parts


async def test_a_daemon_killed_amid_the_parts_loses_no_item_and_doubles_none(
    processes: Processes, tables: StepTables
) -> None:
    first, _ = [await processes.start(), await processes.start(**WATCHFUL)]
    job_id = await tables.submit("PartsWaitForDoors")
    await tables.open_door(2)
    await tables.copied(2 * 3 * 8)

    first.send(signal.SIGKILL)
    await first.ended()
    await tables.open_door(100)

    job = await tables.is_in(job_id, "SUCCEEDED", "FAILED", "ABORTED")
    assert job["status"] == "SUCCEEDED", job["stack_trace"] or job["error_message"]
    assert await tables.all_copied() == "95 95"
    assert await tables.value("SELECT array_agg(value) FROM tally") == [95]


async def test_a_stop_ends_every_part_behind_its_chunk_and_a_restart_at_once_does_the_rest(
    daemons: Daemons, tables: StepTables
) -> None:
    running = await daemons.start(pool={"stop_grace": 60.0})
    job_id = await tables.submit("PartsWaitForDoors")
    await tables.open_door(1)
    await tables.at_the_door(behind=1, parts=8)

    await tables.stop(job_id)
    status_at_once = (await tables.job(job_id))["status"]
    (result,) = await Commands().restart(tables.connection, [job_id])  # its parts are at their second chunks still

    async def waits_again() -> bool:
        job = await tables.job(job_id)
        return bool((job["status"], job["held"]) == ("PENDING", "parts"))

    await until(waits_again, "the restarted job waits for its parts")
    await running.told_to_end(8)
    await tables.open_door(1)

    async def all_stopped() -> bool:
        ended = "SELECT count(*) = 8 FROM jobservice.job_run r JOIN jobservice.job_info j ON j.id = r.job_id"
        return bool(await tables.value(ended + " WHERE j.stage_id IS NOT NULL AND r.ending = 'ABORTED'"))

    await until(all_stopped, "all parts were stopped, and wait again")
    await tables.open_door(100)
    job = await tables.is_in(job_id, "SUCCEEDED", "FAILED", "ABORTED")
    assert (status_at_once, result.accepted) == ("ABORTED", True)
    assert job["status"] == "SUCCEEDED", job["error_message"]
    assert await tables.all_copied() == "95 95"
    stopped = "SELECT count(*) FROM jobservice.step_run WHERE status = 'ABORTED' AND commits = 2 AND read = 6"
    assert await tables.value(stopped) == 8


async def test_failures_at_random_chunks_lose_no_chunk_and_repeat_none(daemons: Daemons, tables: StepTables) -> None:
    await daemons.start()
    dice = random.Random(6)
    throws = [(item, dice.randrange(40)) for item in range(1, 96) if dice.random() < 0.4]
    await tables.connection.executemany("INSERT INTO dice VALUES ($1, $2)", throws)

    job_id = await tables.submit("CopiesByDice")

    restarts = 0
    while (await tables.is_in(job_id, "SUCCEEDED", "FAILED"))["status"] == "FAILED":
        restarts += 1
        assert restarts < 40, "each restart throws again"
        await Commands().restart(tables.connection, [job_id])
    assert restarts > 1, "nothing has failed"
    assert await tables.all_copied() == "95 95"
    assert await tables.value("SELECT array_agg(value) FROM tally") == [95]


async def test_a_step_stays_whole_or_in_parts_as_it_was_begun(daemons: Daemons, tables: StepTables) -> None:
    await daemons.start()
    await tables.connection.execute("UPDATE source SET value = -1 WHERE id = 30")
    await tables.is_in(await tables.submit("CopiesInParts", {"batch": 1}), "FAILED")
    await tables.is_in(await tables.submit("Copies", {"batch": 2}), "FAILED")
    # As if the classes had changed their number of partitions meanwhile: the instances change their classes.
    await tables.connection.execute(
        """UPDATE jobservice.job_instance
           SET job_class = CASE job_class WHEN 'Copies' THEN 'CopiesInParts' ELSE 'Copies' END;
           UPDATE source SET value = 30 WHERE id = 30"""
    )

    for job_class, batch in (("Copies", 1), ("CopiesInParts", 2)):
        job = await tables.is_in(await tables.submit(job_class, {"batch": batch}), "SUCCEEDED", "FAILED")
        assert job["status"] == "SUCCEEDED", job["error_message"]

    assert await tables.all_copied() == "172 86"
