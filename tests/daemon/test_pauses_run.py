"""Pauses and holds on a real daemon: what it has claimed and not begun does not start either."""

from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from daemons import Books, Daemons, until

from jobservice import JobInfoService, Pipeline, Stage
from jobservice.sdk.registry import Registry

VERBS = {
    "pipeline": ("pipelines.pause", "pipelines.resume"),
    "class": ("operations.hold_class", "operations.release_class"),
    "all": ("operations.hold_class", "operations.release_class"),
}


@pytest.mark.parametrize("what", VERBS)
async def test_a_job_that_waits_for_a_process_does_not_start_under_a_pause_and_runs_after_it(
    daemons: Daemons, books: Books, tmp_path: Path, what: str
) -> None:
    await daemons.start(registry=Registry.load(["attempt_jobs"]), pool={"capacity": 4, "processes": 1})
    file = tmp_path / "go"
    jobs = [{"parameters": {"file": str(file)}}] * 3

    async def statuses() -> dict[str, int]:
        rows = await books.connection.fetch("SELECT status, count(*) AS n FROM jobservice.job_info GROUP BY status")
        return {row["status"]: row["n"] for row in rows}

    async def stand(**wanted: int) -> None:
        async def they_do() -> bool:
            return await statuses() == wanted

        await until(they_do, f"the jobs stand {wanted}")

    async with JobInfoService.connect(daemons.database_url) as service:
        made = await service.pipelines.create(Pipeline("p", stages=[Stage(job_class="WaitsInProcess", jobs=jobs)]))
        await stand(RUNNING=1, TO_BE_RUN=2)
        hold, release = (of(service, verb) for verb in VERBS[what])
        held: UUID | str = {"pipeline": made.pipeline_id, "class": "WaitsInProcess", "all": "*"}[what]

        await hold(held)
        await stand(RUNNING=1, QUEUED=2)
        file.touch()
        await stand(SUCCEEDED=1, QUEUED=2)
        await release(held)

        await stand(SUCCEEDED=3)
        attempts = await books.connection.fetch("SELECT attempt FROM jobservice.job_info")
        assert {row["attempt"] for row in attempts} == {1}
        assert (await service.pipelines.wait(made.pipeline_id, timeout=60)).status == "SUCCEEDED"


def of(service: JobInfoService, verb: str) -> Any:
    part, _, name = verb.partition(".")
    return getattr(getattr(service, part), name)
