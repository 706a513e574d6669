"""What steps ask to happen with the success of their job: it succeeds in another run than those that were asked."""

import pytest
from daemons import Books, Daemons
from step_tables import StepTables


@pytest.fixture
async def tables(books: Books, database_url: str, monkeypatch: pytest.MonkeyPatch) -> StepTables:
    tables = StepTables(books.connection)
    await tables.make(database_url, monkeypatch)
    return tables


async def wished(tables: StepTables) -> list[str]:
    query = "SELECT description FROM jobservice.job_info WHERE job_class = 'Wished' ORDER BY 1"
    return [row["description"] for row in await tables.connection.fetch(query)]


async def test_next_jobs_of_steps_are_submitted_once_whatever_runs_it_takes(
    daemons: Daemons, tables: StepTables
) -> None:
    await daemons.start()

    job_id = await tables.submit("Wishes")

    job = await tables.is_in(job_id, "SUCCEEDED", "FAILED", "ABORTED")
    assert job["status"] == "SUCCEEDED", job["stack_trace"]
    assert job["attempt"] == 2
    assert sorted(await wished(tables)) == [
        "aggregate", "chunk to 48", "chunk to 50", "chunk to 95", "chunk to 95", "first step", "last step"
    ]  # fmt: skip
    told = "SELECT exit_description FROM jobservice.step_execution WHERE step = 'parts' AND part = -1"
    assert await tables.value(told) == ""


async def test_what_a_failed_step_asked_for_does_not_happen_though_another_stands_in_for_it(
    daemons: Daemons, tables: StepTables
) -> None:
    await daemons.start()

    job_id = await tables.submit("StandsIn")

    await tables.is_in(job_id, "SUCCEEDED", "FAILED", "ABORTED")
    assert await wished(tables) == ["mended"]
