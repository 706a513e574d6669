"""A job that waits for the parts of its step: what it keeps meanwhile, and how it goes on."""

import json
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from daemons import Daemons, until
from step_tables import StepTables
from trial_jobs.steps import DIARY

from jobservice.client.service import JobInfoService
from jobservice.domain.errors import NotLegal
from jobservice.lifecycle.commands import Commands
from jobservice.sdk.registry import Registry


async def parked(tables: StepTables, job_id: Any) -> None:
    async def waits() -> bool:
        job = await tables.job(job_id)
        return bool((job["status"], job["held"]) == ("PENDING", "parts"))

    await until(waits, "the job waits for its parts")


async def test_a_job_keeps_its_concurrency_key_while_its_parts_run(
    daemons: Daemons, tables: StepTables, database_url: str
) -> None:
    await daemons.start()
    first = await tables.submit("PartsWaitForDoors", concurrency_key="till")
    await parked(tables, first)

    second = await tables.submit("NoOp", concurrency_key="till", priority=9)
    await tables.is_in(await tables.submit("NoOp"), "SUCCEEDED")
    async with JobInfoService.connect(database_url) as jobs:
        why = await jobs.why_not_running(second)

    assert (await tables.job(second))["status"] == "QUEUED"
    assert why == [f"the concurrency key till is held by {first}"]
    await tables.open_door(100)
    await tables.is_in(second, "SUCCEEDED")
    assert (await tables.job(first))["stop_date"] <= (await tables.job(second))["claim_date"]


async def test_a_job_that_is_stopped_while_its_parts_run_gives_its_concurrency_key_back(
    daemons: Daemons, tables: StepTables
) -> None:
    await daemons.start(pool={"stop_grace": 60.0})
    first = await tables.submit("PartsWaitForDoors", concurrency_key="till")
    await parked(tables, first)
    second = await tables.submit("NoOp", concurrency_key="till")

    await tables.stop(first)

    await tables.is_in(second, "SUCCEEDED")
    await Commands().restart(tables.connection, [first])
    await tables.open_door(100)
    await tables.is_in(first, "SUCCEEDED")


async def test_a_job_that_began_in_time_does_not_expire_while_its_parts_run(
    daemons: Daemons, tables: StepTables
) -> None:
    await daemons.start()
    job_id = await tables.submit("PartsWaitForDoors", expiration_date=datetime.now(UTC) + timedelta(hours=1))
    await parked(tables, job_id)

    await tables.connection.execute(
        "UPDATE jobservice.job_info SET expiration_date = clock_timestamp() WHERE id = $1", job_id
    )
    await tables.open_door(100)

    job = await tables.is_in(job_id, "SUCCEEDED", "FAILED")
    assert job["status"] == "SUCCEEDED", job["error_message"]


async def test_parts_see_the_parameters_of_their_job_as_it_sees_them_itself(
    daemons: Daemons, tables: StepTables
) -> None:
    await daemons.start()
    parameters = '{"rate": "0.12345678901234567890123", "limit": {"$stage": "limit"}, "what": {"$$stage": "limit"}}'
    job = f'{{"job_class": "PartsSeeParameters", "parameters": {parameters}}}'
    stage = f'{{"name": "s", "data": {{"limit": 7}}, "jobs": [{job}]}}'

    await tables.connection.fetchrow(
        "SELECT * FROM jobservice.submit_pipeline($1::text::jsonb)", f'{{"name": "p", "stages": [{stage}]}}'
    )

    await tables.all_final()
    assert await tables.value("SELECT array_agg(DISTINCT error_message) FROM jobservice.job_info") == [None]
    notes = await tables.connection.fetch("SELECT note, count(*) FROM target GROUP BY note")
    assert [tuple(each) for each in notes] == [("0.12345678901234567890123 7 {'$stage': 'limit'}", 95)]


async def test_parts_are_tried_as_often_as_the_job_may_be_and_the_job_itself_is_not_tried_again(
    daemons: Daemons, tables: StepTables
) -> None:
    await daemons.start()

    job = await tables.is_in(await tables.submit("PartsNeverSucceed"), "FAILED", "SUCCEEDED")

    assert "2 of its 2 parts did not succeed; part 0: OSError: not today" in job["error_message"]
    assert await tables.value("SELECT last_value FROM throws") == 2 * 3
    assert await tables.value("SELECT count(*) FROM jobservice.job_run WHERE ending = 'retried'") == 2 * 2


async def test_a_step_with_parts_has_their_counts_together_also_after_it_is_complete(
    daemons: Daemons, tables: StepTables, database_url: str
) -> None:
    await daemons.start()
    job_id = await tables.submit("CopiesAndEnters")
    await tables.is_in(job_id, "FAILED", "SUCCEEDED")

    await tables.open_door()
    await Commands().restart(tables.connection, [job_id])

    job = await tables.is_in(job_id, "FAILED", "SUCCEEDED")
    counts = {"read": 95, "filtered": 0, "written": 95, "skipped": 0, "commits": 12, "rollbacks": 0}
    assert json.loads(job["result"])["steps"]["copy"] == counts
    async with JobInfoService.connect(database_url) as jobs:
        instance = await jobs.instances.of(job_id)
    assert instance is not None
    step = next(each for each in instance.steps if (each.step, each.part) == ("copy", None))
    assert {name: getattr(step, name) for name in counts} == counts


async def test_a_step_whose_parts_run_tells_their_counts_together(
    daemons: Daemons, tables: StepTables, database_url: str
) -> None:
    await daemons.start()
    job_id = await tables.submit("PartsWaitForDoors")
    await tables.open_door(1)
    await tables.copied(3 * 8)

    async with JobInfoService.connect(database_url) as jobs:
        instance = await jobs.instances.of(job_id)

    assert instance is not None
    step = next(each for each in instance.steps if each.part is None)
    assert (step.status, step.read, step.commits) == ("STARTED", 3 * 8, 8)


async def test_listeners_are_told_of_a_step_with_parts_before_they_run_and_that_the_job_waits_for_them(
    daemons: Daemons, tables: StepTables
) -> None:
    await daemons.start()

    await tables.is_in(await tables.submit("ToldOfParts"), "SUCCEEDED", "FAILED")

    of_the_job = [line for line in DIARY.lines if not line.startswith(("before_chunk", "after_chunk"))]
    waits = "PartsWait"  # a JobAborted
    assert of_the_job[:4] == ["before_job", "before_step copy", f"after_step copy {waits}", f"after_job {waits}"]
    assert of_the_job[-4:] == ["before_job", "before_step copy", "after_step copy NoneType", "after_job NoneType"]
    of_parts = sorted(line for line in of_the_job if "_part " in line)
    assert of_parts == [*["after_part copy NoneType"] * 2, *["before_part copy"] * 2]


async def test_a_restart_by_instance_takes_a_new_expiration_date_as_one_by_job_does(
    daemons: Daemons, tables: StepTables, database_url: str
) -> None:
    await daemons.start()
    job_id = await tables.submit("CopiesAndEnters", expiration_date=datetime.now(UTC) + timedelta(hours=1))
    await tables.is_in(job_id, "FAILED", "SUCCEEDED")
    await tables.connection.execute(
        "UPDATE jobservice.job_info SET expiration_date = clock_timestamp() WHERE id = $1", job_id
    )
    await tables.open_door()

    async with JobInfoService.connect(database_url) as jobs:
        instance = await jobs.instances.of(job_id)
        assert instance is not None
        with pytest.raises(NotLegal, match="expiration date has passed"):
            await jobs.instances.restart(instance.instance_id)
        await jobs.instances.restart(instance.instance_id, expiration_date=datetime.now(UTC) + timedelta(hours=1))

    await tables.is_in(job_id, "SUCCEEDED")


async def test_what_stands_in_for_a_failed_step_goes_on_in_the_next_run_and_the_failed_one_is_not_tried_again(
    daemons: Daemons, tables: StepTables
) -> None:
    await daemons.start()

    job = await tables.is_in(await tables.submit("PartsStandIn"), "SUCCEEDED", "FAILED")

    assert job["status"] == "SUCCEEDED", job["error_message"]
    assert await tables.value("SELECT last_value FROM throws") == 1
    assert await tables.all_copied() == "95 95"


async def test_a_daemon_with_an_older_class_neither_completes_a_job_nor_hides_why(
    daemons: Daemons, tables: StepTables
) -> None:
    newer = await daemons.start()
    job_id = await tables.submit("PartsWaitForDoors")
    await parked(tables, job_id)
    await newer.leave(at_once=True)

    older = await daemons.start(registry=Registry.load(["older_jobs"]))
    job = await tables.is_in(job_id, "SUCCEEDED", "FAILED")
    parts = await tables.value(
        "SELECT array_agg(DISTINCT error_message) FROM jobservice.job_info WHERE id <> $1", job_id
    )
    await older.leave()

    of_version = "another version of PartsWaitForDoors: this daemon's has no such step"
    assert job["error_message"] == f"step copy was begun by {of_version}; restart the job where it has"
    assert [each for each in parts if each is not None] == [f"step copy was parted by {of_version}"]
    await daemons.start()
    await tables.open_door(100)
    await Commands().restart(tables.connection, [job_id])
    await tables.is_in(job_id, "SUCCEEDED")
    assert (await tables.all_copied(), await tables.value("SELECT array_agg(value) FROM tally")) == ("95 95", [95])


async def test_a_pipeline_that_is_stopped_stops_the_parts_of_its_jobs(daemons: Daemons, tables: StepTables) -> None:
    await daemons.start()
    stage = {"name": "s", "jobs": [{"job_class": "PartsWaitForDoors"}]}
    pipeline = await tables.value(
        "SELECT pipeline_id FROM jobservice.submit_pipeline($1::text::jsonb)",
        json.dumps({"name": "p", "stages": [stage]}),
    )
    job_id = await tables.value("SELECT id FROM jobservice.job_info WHERE pipeline_id = $1", pipeline)
    await parked(tables, job_id)

    await tables.connection.fetch("SELECT * FROM jobservice.command_pipelines(ARRAY[$1::uuid], 'stop')", pipeline)

    await tables.all_final()
    assert await tables.value("SELECT array_agg(DISTINCT status) FROM jobservice.job_info") == ["ABORTED"]
    assert await tables.value("SELECT array_agg(DISTINCT status) FROM jobservice.pipeline") == ["ABORTED"]
    await tables.open_door(100)
    await tables.connection.fetch("SELECT * FROM jobservice.command_pipelines(ARRAY[$1::uuid], 'restart')", pipeline)
    await tables.is_in(job_id, "SUCCEEDED", "FAILED")
    assert (await tables.all_copied(), await tables.value("SELECT array_agg(value) FROM tally")) == ("95 95", [95])


async def test_a_job_runs_the_parts_that_another_job_of_its_instance_has_planned_anew(
    daemons: Daemons, tables: StepTables
) -> None:
    await daemons.start()
    first = await tables.submit("CopiesAnewAndEnters")
    assert (await tables.is_in(first, "FAILED", "SUCCEEDED"))["error_message"] == "the door is shut"
    await tables.connection.execute("UPDATE source SET value = -1 WHERE id = 30")
    second = await tables.is_in(await tables.submit("CopiesAnewAndEnters"), "FAILED", "SUCCEEDED")
    assert "1 of its 2 parts did not succeed" in second["error_message"]

    await tables.connection.execute("UPDATE source SET value = 30 WHERE id = 30")
    await tables.open_door()
    await Commands().restart(tables.connection, [first])

    job = await tables.is_in(first, "FAILED", "SUCCEEDED")
    assert job["status"] == "SUCCEEDED", job["error_message"]
