"""Jobs with steps that are stopped, handed back, killed, restarted, started eight times: nothing lost or done twice."""

import asyncio
import signal

from daemons import Daemons, Processes, until
from step_tables import StepTables
from trial_jobs.steps import DIARY

from jobservice import JobInfoService
from jobservice.lifecycle.commands import Commands

EVERYTHING = "95 95"


async def test_a_stop_ends_behind_the_current_chunk_and_a_restart_goes_on_there(
    daemons: Daemons, tables: StepTables
) -> None:
    running = await daemons.start(pool={"stop_grace": 60.0})
    job_id = await tables.submit("CopiesStepwise")
    await tables.open_door(2)
    await tables.at_the_door(behind=2)

    await tables.stop(job_id)
    await running.told_to_end()
    await tables.open_door()

    job = await tables.is_in(job_id, "ABORTED", "SUCCEEDED", "FAILED")
    assert (job["status"], await tables.value("SELECT count(*) FROM target")) == ("ABORTED", 30)
    await tables.open_door(100)
    (result,) = await Commands().restart(tables.connection, [job_id])
    assert result.accepted
    await tables.is_in(job_id, "SUCCEEDED")
    assert await tables.all_copied() == EVERYTHING


async def test_a_drain_hands_back_behind_the_chunk_and_another_daemon_goes_on(
    daemons: Daemons, tables: StepTables
) -> None:
    first = await daemons.start(daemon={"drain_timeout": 60.0})
    job_id = await tables.submit("CopiesStepwise")
    await tables.open_door(2)
    await tables.at_the_door(behind=2)

    leaving = asyncio.create_task(first.leave())
    await first.told_to_end()
    await tables.open_door()
    await leaving

    job = await tables.job(job_id)
    assert (job["status"], job["attempt"], await tables.value("SELECT count(*) FROM target")) == ("QUEUED", 0, 30)
    await tables.open_door(100)
    await daemons.start()
    await tables.is_in(job_id, "SUCCEEDED")
    assert await tables.all_copied() == EVERYTHING


async def test_a_killed_daemons_chunk_is_rolled_back_and_the_next_run_repeats_only_that(
    processes: Processes, tables: StepTables
) -> None:
    settings = {"daemon__lease": 1.0, "daemon__heartbeat": 0.2}
    first = await processes.start(**settings)
    job_id = await tables.submit("CopiesStepwise")
    await tables.open_door(3)
    await tables.copied(30)

    first.send(signal.SIGKILL)
    await first.ended()
    await tables.open_door(100)
    await processes.start(**settings)

    job = await tables.is_in(job_id, "SUCCEEDED", "FAILED", "ABORTED")
    assert (job["status"], job["run"], job["lost_runs"]) == ("SUCCEEDED", 2, 0)
    assert await tables.value("SELECT array_agg(ending) FROM jobservice.job_run") == ["lost"]
    assert await tables.all_copied() == EVERYTHING
    counts = await tables.connection.fetchrow("SELECT read, written, commits FROM jobservice.step_execution")
    assert tuple(counts) == (95, 95, 10)


async def test_of_eight_starts_at_once_one_runs_and_the_others_are_told_which(
    daemons: Daemons, tables: StepTables
) -> None:
    await daemons.start()

    ids = await tables.submit_many([{"job_class": "CopiesStepwise", "parameters": {"note": str(n)}} for n in range(8)])
    refused = "SELECT count(*) FROM jobservice.job_info WHERE error_type LIKE '%AlreadyRunning'"

    async def seven() -> bool:
        return bool(await tables.value(refused) == 7)

    await until(seven, "seven are refused")
    await tables.open_door(100)
    await tables.all_final()
    rows = await tables.connection.fetch(
        "SELECT id, status, error_message FROM jobservice.job_info WHERE id = ANY ($1)", ids
    )
    (winner,) = [row["id"] for row in rows if row["status"] == "SUCCEEDED"]
    assert all(str(winner) in row["error_message"] for row in rows if row["status"] == "FAILED")
    assert await tables.all_copied() == EVERYTHING


async def test_listeners_are_told_symmetrically_and_harm_nothing(daemons: Daemons, tables: StepTables) -> None:
    await daemons.start()
    await tables.connection.execute("UPDATE source SET value = -1 WHERE id = 95")

    job_id = await tables.submit("Told")

    await tables.is_in(job_id, "FAILED")
    assert DIARY.lines == [
        "before_job",
        "before_step copy",
        "before_chunk",
        "after_chunk 1",
        "before_chunk",
        "on_chunk_error negative: -1",
        "after_step copy ValueError",
        "after_job ValueError",
    ]


async def test_a_chunk_that_cannot_be_written_is_written_item_by_item(daemons: Daemons, tables: StepTables) -> None:
    await daemons.start()

    job_id = await tables.submit("WritesSingly")

    job = await tables.is_in(job_id, "SUCCEEDED", "FAILED", "ABORTED")
    assert job["status"] == "SUCCEEDED", job["stack_trace"]
    assert await tables.all_copied() == "94 94"
    assert [line for line in DIARY.lines if line.startswith("on_")] == [
        "on_retry write 1",
        "on_retry write 1",
        "on_skip write 7",
    ]


async def test_a_step_stands_in_for_one_that_fails_and_a_condition_leaves_one_out(
    daemons: Daemons, tables: StepTables
) -> None:
    await daemons.start()

    job_id = await tables.submit("Flows")

    job = await tables.is_in(job_id, "SUCCEEDED", "FAILED", "ABORTED")
    assert job["status"] == "SUCCEEDED", job["error_message"]
    assert await tables.value("SELECT array_agg(value) FROM tally") == [-1]
    steps = await tables.connection.fetch("SELECT step, status FROM jobservice.step_execution ORDER BY step")
    assert [tuple(step) for step in steps] == [("fails", "FAILED"), ("mend", "SUCCEEDED"), ("never", "SKIPPED")]


async def test_a_step_starts_as_often_as_it_may_and_a_complete_one_again_where_it_says_so(
    daemons: Daemons, tables: StepTables, database_url: str
) -> None:
    await daemons.start()
    job_id = await tables.submit("StartsTwice")

    for said in ("OSError", "OSError", "StartLimitReached"):
        job = await tables.is_in(job_id, "FAILED", "SUCCEEDED")
        assert job["error_type"].rpartition(".")[2] == said
        await Commands().restart(tables.connection, [job_id])

    await tables.is_in(job_id, "FAILED")
    assert await tables.value("SELECT count(*) FROM tally") == 4, "the first step ran again with each restart"
    async with JobInfoService.connect(database_url) as jobs:
        instance = await jobs.instances.of(job_id)
    assert [step.step for step in instance.steps] == ["first", "fails"], "in the order of their first begin"


async def test_a_class_that_prevents_restarts_is_never_executed_twice(daemons: Daemons, tables: StepTables) -> None:
    await daemons.start()
    job_id = await tables.submit("OnlyOnce")
    await tables.is_in(job_id, "FAILED")

    # One after the other: while the restarted job is QUEUED, another one is told that it is AlreadyRunning.
    another = await tables.submit("OnlyOnce")
    refused = [await tables.is_in(another, "FAILED", "SUCCEEDED")]
    await Commands().restart(tables.connection, [job_id])
    refused.append(await tables.is_in(job_id, "FAILED", "SUCCEEDED"))

    assert [job["error_type"].rpartition(".")[2] for job in refused] == ["RestartPrevented", "RestartPrevented"]
    assert await tables.value("SELECT sum(starts) FROM jobservice.step_execution") == 1


async def test_progress_is_that_of_the_counted_items_of_all_steps(daemons: Daemons, tables: StepTables) -> None:
    running = await daemons.start()
    job_id = await tables.submit("CopiesTwice")
    await tables.open_door(2)

    async def told() -> bool:
        job = await tables.job(job_id)
        return (job["progress_done"], job["progress_total"], job["progress_message"]) == (115, 190, "again: 20 of 95")

    await until(told, "115 of 190 are told")
    await tables.stop(job_id)
    await running.told_to_end()
    await tables.open_door()
    await tables.is_in(job_id, "ABORTED")
