"""Jobs with steps whose own functions fail, stop them, or ask for what cannot be."""

import pytest
from daemons import Daemons, until
from step_tables import StepTables
from trial_jobs.steps_broken import TRIED

from jobservice.lifecycle.commands import Commands


async def test_a_writers_own_connection_error_is_for_its_retry_policy_not_for_a_new_connection(
    daemons: Daemons, tables: StepTables
) -> None:
    await daemons.start()

    job_id = await tables.submit("WritesElsewhere")

    job = await tables.is_in(job_id, "SUCCEEDED", "FAILED", "ABORTED")
    assert (job["status"], len(TRIED)) == ("SUCCEEDED", 3)
    assert await tables.all_copied() == "95 95"


async def test_a_job_that_stops_itself_is_neither_retried_nor_skipped(daemons: Daemons, tables: StepTables) -> None:
    await daemons.start()

    job_id = await tables.submit("StopsItself")

    job = await tables.is_in(job_id, "SUCCEEDED", "FAILED", "ABORTED")
    assert (job["status"], job["stop_reason"]) == ("ABORTED", "seven is enough")
    assert await tables.all_copied() == "6 6"
    assert await tables.value("SELECT array_agg(status) FROM jobservice.step_run") == ["ABORTED"]


@pytest.mark.parametrize("job_class", ["AsksWrongly", "PlansWrongly"])
async def test_a_condition_or_a_plan_that_raises_fails_its_step_and_is_told(
    daemons: Daemons, tables: StepTables, job_class: str
) -> None:
    await daemons.start()

    job_id = await tables.submit(job_class)

    await tables.is_in(job_id, "FAILED", "SUCCEEDED")
    step = await tables.connection.fetchrow("SELECT status, error_type, error_message FROM jobservice.step_execution")
    assert tuple(step) == ("FAILED", "LookupError", "nobody knows")


async def test_a_position_that_reads_back_as_another_value_is_refused_at_the_first_chunk(
    daemons: Daemons, tables: StepTables
) -> None:
    await daemons.start()

    job_id = await tables.submit("KeepsDates")

    job = await tables.is_in(job_id, "FAILED", "SUCCEEDED")
    assert "the position of an item of step copy is kept as JSON" in (job["error_message"] or "")
    assert await tables.all_copied() == "0 0"


async def test_of_eight_new_runs_at_once_one_runs_and_the_others_are_told_so(
    daemons: Daemons, tables: StepTables
) -> None:
    await daemons.start()
    await tables.open_door(100)
    await tables.is_in(await tables.submit("CopiesStepwise"), "SUCCEEDED")
    await tables.connection.execute("TRUNCATE door, target")

    await tables.submit_many([{"job_class": "CopiesStepwise", "parameters": {"new_run": True}} for _ in range(8)])

    refused = "SELECT count(*) FROM jobservice.job_info WHERE status = 'FAILED'"

    async def seven() -> bool:
        return bool(await tables.value(refused) == 7)

    await until(seven, "seven are refused")
    await tables.open_door(100)
    await tables.all_final()
    assert await tables.value(refused + " AND error_type LIKE '%AlreadyRunning'") == 7
    assert await tables.all_copied() == "95 95"
    assert await tables.value("SELECT array_agg(generation ORDER BY generation) FROM jobservice.job_instance") == [1, 2]


async def test_parts_that_may_start_again_are_planned_anew_with_each_restart(
    daemons: Daemons, tables: StepTables
) -> None:
    await daemons.start()
    job_id = await tables.submit("CopiesAgain")
    await tables.is_in(job_id, "FAILED", "SUCCEEDED")

    await Commands().restart(tables.connection, [job_id])
    await tables.is_in(job_id, "FAILED", "SUCCEEDED")

    assert await tables.all_copied() == "190 95"


async def test_a_job_whose_failed_parts_retention_has_taken_runs_them_anew(
    daemons: Daemons, tables: StepTables
) -> None:
    await daemons.start()
    await tables.connection.execute("UPDATE source SET value = -1 WHERE id = 30")
    job_id = await tables.submit("CopiesInParts")
    await tables.is_in(job_id, "FAILED", "SUCCEEDED")
    await tables.connection.execute("UPDATE jobservice.pipeline SET cleaned = true")
    await tables.connection.execute("UPDATE source SET value = 30 WHERE id = 30")

    await Commands().restart(tables.connection, [job_id])

    job = await tables.is_in(job_id, "SUCCEEDED", "FAILED", "ABORTED")
    assert job["status"] == "SUCCEEDED", job["error_message"]
    assert await tables.all_copied() == "86 86"


async def test_plain_functions_of_as_many_jobs_run_at_once_as_there_may_be_threads(
    daemons: Daemons, tables: StepTables
) -> None:
    await daemons.start()

    await tables.submit_many([{"job_class": "Meets", "parameters": {"batch": n}} for n in range(9)])

    await tables.all_final()
    assert await tables.value("SELECT array_agg(DISTINCT status) FROM jobservice.job_info") == ["SUCCEEDED"]
