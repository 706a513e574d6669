"""A daemon whose disk is full: jobs that need a workspace wait, all others run, and everybody is told why."""

import shutil
from pathlib import Path
from types import SimpleNamespace

import aiohttp
import pytest
from daemons import Books, Daemons, Recorder, Running, until

from jobservice import JobInfoService
from jobservice.cli.examinations import Finding, examine


class Disk:
    """How full the file system seems; the rest of it is real."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.percent = 95.0
        monkeypatch.setattr(shutil, "disk_usage", self._usage)
        monkeypatch.setattr("jobservice.maintenance.workspace_watch.INTERVAL", 0.05)

    def _usage(self, path: Path) -> SimpleNamespace:
        del path
        used = int(self.percent * 1000)
        return SimpleNamespace(total=100_000, used=used, free=100_000 - used)


@pytest.fixture
def disk(monkeypatch: pytest.MonkeyPatch) -> Disk:
    return Disk(monkeypatch)


async def readiness(running: Running, books: Books) -> tuple[int, dict[str, object]]:
    url = await books.value("SELECT http_url FROM jobservice.daemon WHERE id = $1", running.id)
    await books.all_published()  # so the broker is there, and what is said is about the rest
    async with aiohttp.ClientSession() as session, session.get(f"{url}/readyz") as answer:
        return answer.status, await answer.json()


async def findings(daemons: Daemons, what: str, **workspace: object) -> list[Finding]:
    settings = daemons.settings(
        jobs={"packages": ["trial_jobs"]}, workspace={"directory": daemons.directory} | workspace
    )
    return [finding for finding in await examine(settings) if finding.what == what]


async def test_what_needs_a_workspace_waits_for_room_and_all_else_runs(
    disk: Disk, daemons: Daemons, books: Books, recorder: Recorder
) -> None:
    running = await daemons.start(workspace={"directory": daemons.directory, "pause_percent": 90})

    waiting = await books.submit("InWorkspace", priority=100)
    others = await books.submit_many([{"job_class": "NoOp"}] * 3)

    for job_id in others:
        await books.is_in(job_id, "SUCCEEDED")
    assert (await books.job(waiting))["status"] == "QUEUED"
    status, said = await readiness(running, books)
    assert (status, said["workspace_full"], said["workspace_used_percent"]) == (200, True, 95.0)

    disk.percent = 50.0
    await books.is_in(waiting, "SUCCEEDED")
    status, said = await readiness(running, books)
    assert (status, said["workspace_full"], said["workspace_used_percent"]) == (200, False, 50.0)
    await recorder.has(waiting, "TO_BE_RUN", "RUNNING", "SUCCEEDED")


async def test_doctor_and_the_reasons_of_a_waiting_job_name_the_missing_room(
    disk: Disk, daemons: Daemons, books: Books
) -> None:
    running = await daemons.start(workspace={"directory": daemons.directory, "pause_percent": 90})
    waiting = await books.submit("InWorkspace")

    async def told() -> bool:
        return bool(await books.value("SELECT withheld_classes FROM jobservice.daemon WHERE id = $1", running.id))

    await until(told, "the daemon's row names what it withholds")
    async with JobInfoService.connect(daemons.database_url) as jobs:
        assert await jobs.why_not_running(waiting) == ["its daemons have no room for more workspaces"]
    (daemon,) = await findings(daemons, "daemons")
    assert (daemon.well, f"no room for workspaces: {running.id}" in daemon.finding) == (False, True)
    assert "InWorkspace" in daemon.finding

    disk.percent = 50.0

    async def taken_back() -> bool:
        return not await told()

    await until(taken_back, "the row names nothing any more")
    (daemon,) = await findings(daemons, "daemons")
    assert daemon.well is True


async def test_doctor_looks_at_the_disk_of_its_own_machine(disk: Disk, daemons: Daemons) -> None:
    wells = []
    for percent in (50.0, 85.0, 95.0):
        disk.percent = percent
        (finding,) = await findings(daemons, "workspaces", warn_percent=80, pause_percent=90)
        wells.append(finding.well)
        assert finding.finding.startswith(f"{percent:.0f} % of the disk")

    assert wells == [True, None, False]
