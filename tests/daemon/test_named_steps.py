"""What jobs tell beside the counts: a free object and named steps, dated by the database, on every executor."""

import json
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

import asyncpg
import pytest
from daemons import Books, Daemons, until
from factory import SETTLER, make_daemon, make_job

from jobservice.client.service import JobInfoService
from jobservice.domain.states import JobStatus
from jobservice.lifecycle.rescue import Rescuer
from jobservice.sdk.job_info import JobInfo
from jobservice.sdk.registry import Registry

EXECUTORS = ("OnLoop", "OnThread", "InProcess")


def registry() -> Registry:
    return Registry.load(["step_jobs"])


async def read(daemons: Daemons, job_id: UUID) -> JobInfo:
    async with JobInfoService.connect(daemons.database_url) as jobs:
        return await jobs.get(job_id)


def steps_of(job: JobInfo) -> dict[str, Any]:
    assert job.progress_info is not None
    return dict(job.progress_info["steps"])


def date(step: dict[str, Any], name: str) -> datetime:
    return datetime.fromisoformat(step[name])


@pytest.mark.parametrize("executor", EXECUTORS)
async def test_steps_are_seen_while_the_job_runs_and_keep_their_dates_to_the_end(
    daemons: Daemons, books: Books, executor: str
) -> None:
    await daemons.start(registry=registry())
    go = daemons.directory / "go"
    job_id = await books.submit(f"Steps{executor}", {"file": go})

    async def told() -> bool:
        return bool(await books.value("SELECT progress_info ? 'files' FROM jobservice.job_info WHERE id = $1", job_id))

    await until(told, "the tick has written the info")
    running = steps_of(await read(daemons, job_id))
    go.touch()
    row = await books.is_in(job_id, "SUCCEEDED")
    job = await read(daemons, job_id)

    assert {name: step["status"] for name, step in running.items()} == {"download": "done", "unpack": "running"}
    assert (running["unpack"]["ended"], running["unpack"]["elapsed_ms"]) == (None, None)
    assert job.progress_info is not None
    assert job.progress_info["files"] == [1, 2**70]
    assert "phase" not in job.progress_info
    steps = steps_of(job)
    assert steps["download"] == running["download"]
    assert (steps["unpack"]["status"], steps["unpack"]["started"]) == ("done", running["unpack"]["started"])
    assert_dates_fit(row, steps)


def assert_dates_fit(row: asyncpg.Record, steps: dict[str, Any]) -> None:
    """All on the clock of the row's own dates, and in order."""
    dates = [date(steps[name], at) for name in ("download", "unpack") for at in ("started", "ended")]
    dates = [row["start_date"], *dates, row["stop_date"]]
    assert dates == sorted(dates)
    for step in steps.values():
        assert date(step, "ended") - date(step, "started") <= timedelta(milliseconds=step["elapsed_ms"] + 1)


@pytest.mark.parametrize("executor", EXECUTORS)
async def test_what_a_job_told_that_ended_before_the_next_tick_is_written_with_its_end(
    daemons: Daemons, books: Books, executor: str
) -> None:
    await daemons.start(registry=registry(), jobs={"completion_update_interval": 3_600.0})
    good, bad = await books.submit_many(
        [
            {"job_class": f"Steps{executor}", "parameters": {"fails": fails}, "max_attempts": 1}
            for fails in (False, True)
        ]
    )

    rows = [await books.is_in(good, "SUCCEEDED"), await books.is_in(bad, "FAILED")]

    for job_id, row, ending in zip((good, bad), rows, ("done", "failed"), strict=True):
        job = await read(daemons, job_id)
        steps = steps_of(job)
        assert {name: step["status"] for name, step in steps.items()} == {"download": "done", "unpack": ending}
        assert_dates_fit(row, steps)
        assert job.progress_info is not None
        assert job.progress_info["files"] == [1, 2**70]


async def test_a_retry_a_hand_back_and_a_restart_clear_it(daemons: Daemons, books: Books) -> None:
    first = await daemons.start(registry=registry())
    retried = await books.submit("StepsOnThread", {"fails": True})
    handed_back = await books.submit("StepsOnLoop", {"file": daemons.directory / "never"})
    failed = await books.submit("StepsOnLoop", {"fails": True})

    async def told() -> bool:
        return (await books.job(handed_back))["progress_info"] is not None

    assert (await books.is_in(retried, "PENDING"))["progress_info"] is None
    assert (await books.is_in(failed, "FAILED"))["progress_info"] is not None
    await until(told, "the running one has told")
    await first.leave(at_once=True)
    async with JobInfoService.connect(daemons.database_url) as jobs:
        await jobs.restart(failed)
    assert (await books.is_in(handed_back, "QUEUED"))["progress_info"] is None
    assert (await books.job(failed))["progress_info"] is None


async def test_a_job_that_tells_nothing_has_none(daemons: Daemons, books: Books) -> None:
    await daemons.start()

    job_id = await books.submit("Waits", {"file": __file__, "total": 4, "done": 1})
    await books.is_in(job_id, "SUCCEEDED")

    assert (await read(daemons, job_id)).progress_info is None


async def test_a_job_that_is_lost_too_often_leaves_no_step_running(books: Books) -> None:
    lost = await make_daemon(books.connection, ended="lost_at")
    job_id = await make_job(books.connection, JobStatus.RUNNING, daemon=lost)
    steps = """{"steps": {"a": {"status": "done", "started": "2026-01-01T00:00:00.000000Z", "elapsed_ms": 5},
                          "b": {"status": "running", "started": "2026-01-01T00:00:00.000000Z"}}, "seen": 7}"""
    await books.connection.execute("UPDATE jobservice.job_info SET progress_info = $2 WHERE id = $1", job_id, steps)

    await Rescuer(schema="jobservice", max_lost_runs=1, follower=SETTLER).rescue(books.connection)

    job = await books.job(job_id)
    told = json.loads(job["progress_info"])
    assert (job["status"], told["seen"]) == ("FAILED", 7)
    assert told["steps"]["a"] == json.loads(steps)["steps"]["a"]
    assert told["steps"]["b"]["status"] == "failed"
    ended, started = (date(told["steps"]["b"], name) for name in ("ended", "started"))
    assert told["steps"]["b"]["elapsed_ms"] == round((ended - started).total_seconds() * 1000)
