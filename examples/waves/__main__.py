"""Run nine jobs in exactly five waves, and check it: B1(J1, J2, J3) -> J4 -> J5 -> B2(J6, J7, J8) -> J9.

    .venv/bin/python -m examples.waves

starts private servers and a daemon, and exits with 1 if any job began before all of the wave before had ended.
"""

import asyncio
from itertools import pairwise
from pathlib import Path
from uuid import UUID

from examples.private_installation import Installation, installation
from jobservice import JobInfo, JobInfoService, Pipeline, PipelineInfo, PipelineStatus, Stage

CONFIG = Path(__file__).with_name("jobservice.toml")
WAVES = {"B1": ("J1", "J2", "J3"), "J4": ("J4",), "J5": ("J5",), "B2": ("J6", "J7", "J8"), "J9": ("J9",)}


async def main(servers: Installation) -> None:
    """The pipeline, from its submission to the judgement."""
    async with (
        JobInfoService.connect(servers.database_url, servers.amqp_url) as jobs,
        jobs.pipelines.events(tenant="waves", name="waves") as events,
    ):
        made = await jobs.pipelines.create(planned())
        told: dict[UUID, int] = {}
        changes: list[tuple[str, PipelineStatus]] = []
        async for event in events:
            if event.sequence <= told.get(event.subject, 0):
                continue  # events come at least once
            told[event.subject] = event.sequence
            if event.stage_name is not None and event.status != event.previous_status:
                changes.append((event.stage_name, event.status))
            if event.stage_id is None and event.final:
                break
        ended = await jobs.pipelines.get(made.pipeline_id)
        waves = [(await jobs.pipelines.stage_jobs(stage.stage_id)).jobs for stage in ended.stages]
    wrong = [*wrong_in_events(changes), *wrong_in_rows(ended, waves)]
    show(ended, waves)
    if wrong:
        raise SystemExit("\n".join(wrong))
    print(f"{sum(map(len, waves))} jobs in {len(waves)} waves")


def planned() -> Pipeline:
    """A stage for each wave, a short program for each job."""
    sleep = {"arguments": ["sleep", "0.3"]}
    return Pipeline(
        "waves",
        tenant="waves",
        stages=[
            Stage(wave, jobs=[JobInfo("RunCommand", parameters=sleep, description=job) for job in names])
            for wave, names in WAVES.items()
        ],
    )


def wrong_in_events(changes: list[tuple[str, PipelineStatus]]) -> list[str]:
    """A wave opens, runs and succeeds, then the next does."""
    life = (PipelineStatus.QUEUED, PipelineStatus.RUNNING, PipelineStatus.SUCCEEDED)
    expected = [(wave, status) for wave in WAVES for status in life]
    return [] if changes == expected else [f"the stages were told so: {changes}"]


def wrong_in_rows(ended: PipelineInfo, waves: list[list[JobInfo]]) -> list[str]:
    """By the dates of the jobs, which are the database's."""
    wrong = [] if ended.status == PipelineStatus.SUCCEEDED else [f"the pipeline is {ended.status}"]
    if [sorted(job.description for job in wave) for wave in waves] != [sorted(names) for names in WAVES.values()]:
        wrong.append("the waves have other jobs")
    for before, after in pairwise(waves):
        for job in after:
            early = [each.description for each in before if each.stop_date > job.start_date]
            wrong += [f"{job.description} began before the end of {', '.join(early)}"] if early else []
    return wrong


def show(ended: PipelineInfo, waves: list[list[JobInfo]]) -> None:
    """Each job on a line, with the seconds since the first one's start."""
    first = min(job.start_date for job in waves[0])
    for stage, wave in zip(ended.stages, waves, strict=True):
        for job in sorted(wave, key=lambda job: job.description):
            begin, end = ((date - first).total_seconds() for date in (job.start_date, job.stop_date))
            print(f"{stage.name}  {job.description}  {job.status}  {begin:5.2f} s to {end:5.2f} s")


if __name__ == "__main__":
    with installation(CONFIG) as servers:
        asyncio.run(main(servers))
