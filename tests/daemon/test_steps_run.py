"""Jobs with steps on real daemons: chunks, checkpoints, parts, instances."""

import json

import pytest
from daemons import Books, Daemons

from jobservice import JobInfoService
from jobservice.domain.errors import NotLegal
from jobservice.lifecycle.commands import Commands


@pytest.fixture
async def tables(books: Books) -> Books:
    await books.connection.execute(
        """DROP TABLE IF EXISTS source, target, tally;
           CREATE TABLE source (id integer PRIMARY KEY, value integer);
           CREATE TABLE target (value integer, note text);
           CREATE TABLE tally (value integer)"""
    )
    await books.connection.execute("INSERT INTO source SELECT n, n FROM generate_series(1, 95) n")
    return books


async def test_each_item_is_read_processed_and_written_once_and_the_counts_say_so(
    daemons: Daemons, tables: Books
) -> None:
    await daemons.start()

    job_id = await tables.submit("Copies", {"note": "x"})

    job = await tables.is_in(job_id, "SUCCEEDED", "FAILED", "ABORTED")
    assert job["status"] == "SUCCEEDED", job["stack_trace"]
    copied = json.loads(job["result"])["steps"]["copy"]
    assert copied == {"read": 95, "filtered": 9, "written": 86, "skipped": 0, "commits": 10, "rollbacks": 0}
    assert await tables.value("SELECT array_agg(value) FROM tally") == [86]
    assert await tables.value("SELECT count(DISTINCT value) FROM target WHERE note = 'x'") == 86


async def test_a_failed_chunk_is_rolled_back_and_a_restart_goes_on_behind_the_last_commit(
    daemons: Daemons, tables: Books
) -> None:
    await daemons.start()
    await tables.connection.execute("UPDATE source SET value = -1 WHERE id = 55")

    job_id = await tables.submit("Copies")

    job = await tables.is_in(job_id, "SUCCEEDED", "FAILED", "ABORTED")
    assert (job["status"], job["error_message"]) == ("FAILED", "negative: -1")
    assert await tables.value("SELECT count(*) FROM target") == 45
    await tables.connection.execute("UPDATE source SET value = 55 WHERE id = 55")
    again = await tables.submit("Copies", {"note": "second"})
    job = await tables.is_in(again, "SUCCEEDED", "FAILED", "ABORTED")
    assert job["status"] == "SUCCEEDED", job["error_message"]
    assert await tables.value("SELECT count(*) || ' ' || count(DISTINCT value) FROM target") == "86 86"
    assert await tables.value("SELECT count(*) FROM target WHERE note = 'second'") == 41


async def test_a_complete_instance_is_refused_and_run_anew_only_when_asked(daemons: Daemons, tables: Books) -> None:
    await daemons.start()
    first = await tables.submit("Copies", {"batch": 7})
    await tables.is_in(first, "SUCCEEDED")

    second = await tables.submit("Copies", {"batch": 7, "note": "no other instance"})
    third = await tables.submit("Copies", {"batch": 8})
    job = await tables.is_in(second, "SUCCEEDED", "FAILED", "ABORTED")

    assert (job["status"], job["error_type"].rpartition(".")[2]) == ("FAILED", "AlreadyComplete")
    assert str(first) in job["error_message"]
    await tables.is_in(third, "SUCCEEDED")
    anew = await tables.submit("Copies", {"batch": 7, "new_run": True})
    job = await tables.is_in(anew, "SUCCEEDED", "FAILED", "ABORTED")
    assert (job["status"], json.loads(job["result"])["generation"]) == ("SUCCEEDED", 2)


async def test_skipped_items_are_left_out_up_to_the_limit(daemons: Daemons, tables: Books) -> None:
    await daemons.start()
    await tables.connection.execute("UPDATE source SET value = -id WHERE id IN (3, 33, 34)")

    job_id = await tables.submit("CopiesSkipping")

    job = await tables.is_in(job_id, "SUCCEEDED", "FAILED", "ABORTED")
    assert (job["status"], json.loads(job["result"])["steps"]["copy"]["skipped"]) == ("SUCCEEDED", 3)
    await tables.connection.execute("UPDATE source SET value = -id WHERE id = 35")
    refused = await tables.submit("CopiesSkipping", {"batch": 2})
    job = await tables.is_in(refused, "SUCCEEDED", "FAILED", "ABORTED")
    assert (job["status"], "more than 3 items" in job["error_message"]) == ("FAILED", True)


async def test_parts_run_as_jobs_of_their_own_and_are_aggregated_once(daemons: Daemons, tables: Books) -> None:
    await daemons.start()

    job_id = await tables.submit("CopiesInParts")

    job = await tables.is_in(job_id, "SUCCEEDED", "FAILED", "ABORTED")
    assert job["status"] == "SUCCEEDED", job["stack_trace"] or job["error_message"]
    assert await tables.value("SELECT array_agg(value ORDER BY ctid) FROM tally") == [86, 86]
    assert await tables.value("SELECT count(*) || ' ' || count(DISTINCT value) FROM target") == "86 86"
    assert await tables.value("SELECT count(*) FROM jobservice.job_info WHERE stage_id IS NOT NULL") == 4


async def test_only_failed_parts_run_again_when_the_job_is_restarted(daemons: Daemons, tables: Books) -> None:
    await daemons.start()
    await tables.connection.execute("UPDATE source SET value = -1 WHERE id = 30")

    job_id = await tables.submit("CopiesInParts")

    job = await tables.is_in(job_id, "SUCCEEDED", "FAILED", "ABORTED")
    assert (job["status"], "part 1: ValueError: negative: -1" in job["error_message"]) == ("FAILED", True)
    await tables.connection.execute("UPDATE source SET value = 30 WHERE id = 30")
    (result,) = await Commands().restart(tables.connection, [job_id])
    assert result.accepted
    job = await tables.is_in(job_id, "SUCCEEDED", "FAILED", "ABORTED")
    assert job["status"] == "SUCCEEDED", job["error_message"]
    assert await tables.value("SELECT count(*) || ' ' || count(DISTINCT value) FROM target") == "86 86"
    runs = await tables.connection.fetch(
        "SELECT part, count(*) AS runs FROM jobservice.step_run WHERE part >= 0 GROUP BY 1"
    )
    assert {row["part"]: row["runs"] for row in runs} == {0: 1, 1: 2, 2: 1, 3: 1}


async def test_an_instance_tells_of_its_steps_parts_and_runs(
    daemons: Daemons, tables: Books, database_url: str
) -> None:
    daemon = await daemons.start()
    job_id = await tables.submit("CopiesInParts")
    await tables.is_in(job_id, "SUCCEEDED")

    async with JobInfoService.connect(database_url) as jobs:
        instance = await jobs.instances.of(job_id)
        with pytest.raises(NotLegal):
            await jobs.instances.restart(instance.instance_id if instance else job_id)

    assert instance is not None
    assert (instance.status, instance.jobs, instance.parameters) == ("SUCCEEDED", (job_id,), {"batch": 1})
    steps = [(step.step, step.part, step.status, step.read) for step in instance.steps]
    assert steps[0] == ("copy", None, "SUCCEEDED", 95)
    assert [step[:3] for step in steps[1:]] == [
        *(("copy", part, "SUCCEEDED") for part in range(4)),
        ("tally", None, "SUCCEEDED"),
    ]
    assert sum(step[3] for step in steps[1:]) == 95
    assert {run.status for run in instance.runs} == {"SUCCEEDED", "PARKED"}
    assert {run.daemon_id for run in instance.runs} == {daemon.id}


async def test_who_restarts_a_part_is_told_of_its_job(daemons: Daemons, tables: Books) -> None:
    await daemons.start()
    await tables.connection.execute("UPDATE source SET value = -1 WHERE id = 55")
    job_id = await tables.submit("CopiesInParts")
    await tables.is_in(job_id, "FAILED")

    part = await tables.value("SELECT id FROM jobservice.job_info WHERE pipeline_id IS NOT NULL AND status = 'FAILED'")
    (result,) = await Commands().restart(tables.connection, [part])

    assert (result.accepted, result.reason) == (False, f"it is a part of job {job_id}: restart that")


async def test_nobody_but_the_service_names_the_part_of_a_step(daemons: Daemons, tables: Books) -> None:
    await daemons.start()
    job_id = await tables.submit("CopiesInParts")
    await tables.is_in(job_id, "SUCCEEDED")
    instance = str(await tables.value("SELECT id FROM jobservice.job_instance"))

    part = {"instance_id": instance, "step": "copy", "index": 0}
    forged = [
        await tables.submit("CopiesInParts", {"$part": part}, tenant="zeta"),
        await tables.submit("CopiesInParts", {"$part": part}),
        await tables.submit("CopiesInParts", {"$part": {"step": "copy"}}),
    ]

    for each in forged:
        job = await tables.is_in(each, "FAILED", "SUCCEEDED")
        assert job["error_type"].rpartition(".")[2] == "JobParameterInvalid"
    assert await tables.value("SELECT count(*) || ' ' || count(DISTINCT value) FROM target") == "86 86"
