"""Steps that last: they hold up neither other steps nor the ends of jobs, and those that are given up are told."""

from pathlib import Path

import pytest
from daemons import Books, Daemons, until
from step_tables import StepTables


@pytest.fixture
async def tables(books: Books, database_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> StepTables:
    monkeypatch.setenv("LASTS_IN", str(tmp_path))
    tables = StepTables(books.connection)
    await tables.make(database_url, monkeypatch)
    return tables


async def at_work(directory: Path, count: int) -> None:
    async def there() -> bool:
        return len(list(directory.glob("at-work-*"))) >= count

    await until(there, f"{count} are at work")


async def submit(tables: StepTables, job_class: str, directory: Path, count: int) -> list:
    return await tables.submit_many(
        [
            {"job_class": job_class, "parameters": {"number": number, "file": str(directory / "end")}}
            for number in range(count)
        ]
    )


@pytest.mark.parametrize(
    ("job_class", "count"), [("LastsOnThread", 10), ("LastsOnLoop", 10), ("LastsWithoutContext", 30)]
)
async def test_tasks_that_last_hold_up_neither_each_other_nor_chunks_transactions_or_workspaces(
    daemons: Daemons,
    tables: StepTables,
    tmp_path: Path,
    job_class: str,
    count: int,
) -> None:
    await daemons.start(pool={"capacity": 50})
    lasting = await submit(tables, job_class, tmp_path, count)
    await at_work(tmp_path, count)

    beside = [await tables.submit("Copies"), await tables.submit("InWorkspace")]

    for job in beside:
        assert (await tables.is_in(job, "SUCCEEDED", "FAILED", seconds=30))["status"] == "SUCCEEDED"
    (tmp_path / "end").touch()
    for job in lasting:
        await tables.is_in(job, "SUCCEEDED")


async def stuck_in_row(tables: StepTables, count: int) -> None:
    async def told() -> bool:
        return bool(await tables.value("SELECT stuck = $1 FROM jobservice.daemon", count))

    await until(told, f"{count} are told as stuck")


async def test_plain_functions_of_steps_that_are_given_up_are_told_as_stuck_until_they_end(
    daemons: Daemons, tables: StepTables, tmp_path: Path
) -> None:
    await daemons.start(pool={"capacity": 50, "stop_grace": 0.2}, daemon={"heartbeat": 0.2})
    lasting = await submit(tables, "LastsOnThread", tmp_path, 3)
    await at_work(tmp_path, 3)

    await tables.stop(*lasting)
    for job in lasting:
        await tables.is_in(job, "ABORTED")
    await stuck_in_row(tables, 3)
    others = await tables.submit("Copies")
    await tables.is_in(others, "SUCCEEDED")
    (tmp_path / "end").touch()

    await stuck_in_row(tables, 0)


async def test_a_task_that_finds_all_connections_taken_waits_for_one_and_chunks_do_not(
    daemons: Daemons, tables: StepTables, tmp_path: Path
) -> None:
    await daemons.start(pool={"capacity": 50, "step_connections": 2})
    lasting = await submit(tables, "LastsOnLoop", tmp_path, 2)
    await at_work(tmp_path, 2)
    waits = await tables.submit("LastsOnLoop", {"number": 2, "file": str(tmp_path / "end")})
    await tables.is_in(waits, "RUNNING")

    beside = await tables.submit("Copies")

    assert (await tables.is_in(beside, "SUCCEEDED", "FAILED", seconds=30))["status"] == "SUCCEEDED"
    assert not (tmp_path / "at-work-2").exists()
    (tmp_path / "end").touch()
    for job in (*lasting, waits):
        await tables.is_in(job, "SUCCEEDED")


async def test_a_task_that_waits_for_a_connection_ends_as_soon_as_it_is_stopped(
    daemons: Daemons, tables: StepTables, tmp_path: Path
) -> None:
    await daemons.start(pool={"capacity": 50, "step_connections": 1, "stop_grace": 3600.0})
    (lasting,) = await submit(tables, "LastsOnLoop", tmp_path, 1)
    await at_work(tmp_path, 1)
    waits = await tables.submit("LastsOnLoop", {"number": 1, "file": str(tmp_path / "end")})
    await tables.is_in(waits, "RUNNING")

    await tables.stop(waits)

    assert (await tables.is_in(waits, "ABORTED", "FAILED"))["status"] == "ABORTED"
    (tmp_path / "end").touch()
    await tables.is_in(lasting, "SUCCEEDED")
