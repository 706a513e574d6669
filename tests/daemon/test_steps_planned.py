"""What a step's plan is to its readers: with one part as with several, and where there is none."""

import json

import pytest
from daemons import Daemons
from step_tables import StepTables


@pytest.mark.parametrize("items", [0, 1, 25])
async def test_one_part_is_planned_and_aggregated_like_several(
    daemons: Daemons, tables: StepTables, items: int
) -> None:
    await daemons.start()
    await tables.connection.execute("DELETE FROM source WHERE id > $1", items)

    job_id = await tables.submit("InOnePart")

    job = await tables.is_in(job_id, "SUCCEEDED", "FAILED", "ABORTED")
    assert job["status"] == "SUCCEEDED", job["stack_trace"]
    assert await tables.all_copied() == f"{items} {items}"
    assert await tables.value("SELECT array_agg(value) FROM tally") == [items]
    assert json.loads(job["result"])["steps"]["copy"]["written"] == items


async def test_an_aggregation_of_one_part_that_fails_is_done_once_when_the_job_is_restarted(
    daemons: Daemons, tables: StepTables
) -> None:
    await daemons.start()
    await tables.connection.execute("ALTER TABLE tally ADD CHECK (value < 0)")
    job_id = await tables.submit("InOnePart")
    job = await tables.is_in(job_id, "SUCCEEDED", "FAILED", "ABORTED")
    assert job["error_type"].endswith(".CheckViolationError")

    await tables.connection.execute("ALTER TABLE tally DROP CONSTRAINT tally_value_check")
    again = await tables.submit("InOnePart")

    job = await tables.is_in(again, "SUCCEEDED", "FAILED", "ABORTED")
    assert job["status"] == "SUCCEEDED", job["stack_trace"]
    assert await tables.all_copied() == "95 95"
    assert await tables.value("SELECT array_agg(value) FROM tally") == [95]


async def test_bounds_that_no_plan_has_made_are_refused_and_nothing_succeeds_without_its_rows(
    daemons: Daemons, tables: StepTables
) -> None:
    await daemons.start()

    job_id = await tables.submit("Unplanned")

    job = await tables.is_in(job_id, "SUCCEEDED", "FAILED", "ABORTED")
    assert job["error_type"].endswith(".PartsFailed")
    assert "this step has partitions and no plan" in job["error_message"]


async def test_parts_without_a_plan_go_by_their_numbers(daemons: Daemons, tables: StepTables) -> None:
    await daemons.start()

    job_id = await tables.submit("ByNumber")

    job = await tables.is_in(job_id, "SUCCEEDED", "FAILED", "ABORTED")
    assert job["status"] == "SUCCEEDED", job["stack_trace"]
    assert await tables.all_copied() == "95 95"
    assert await tables.value("SELECT array_agg(value) FROM tally") == [95]


@pytest.mark.parametrize("job_class", ["DaysInOnePart", "DaysInParts"])
async def test_bounds_are_read_as_they_were_stored_by_one_part_as_by_several(
    daemons: Daemons, tables: StepTables, job_class: str
) -> None:
    await daemons.start()

    job_id = await tables.submit(job_class)

    job = await tables.is_in(job_id, "SUCCEEDED", "FAILED", "ABORTED")
    assert job["status"] == "SUCCEEDED", job["error_message"]
    assert await tables.value("SELECT DISTINCT value FROM target") == len("2026-01-01")
