"""Job classes that look at their stage and change it, each for every executor."""

import time
from pathlib import Path
from typing import Any

from jobservice import AbstractJob, JobInfo


def seen_by(job: AbstractJob) -> dict[str, Any] | None:
    if job.stage is None or job.pipeline is None:
        return None
    return {
        "stage": [str(job.stage.stage_id), job.stage.position, job.stage.name, job.stage.status, job.stage.total],
        "stage_data": job.stage.data,
        "stage_metadata": job.stage.user_metadata,
        "pipeline": [str(job.pipeline.pipeline_id), job.pipeline.name, job.pipeline.tenant],
        "pipeline_data": job.pipeline.data,
    }


def change(job: AbstractJob) -> None:
    job.update_stage_metadata({"last": str(job.info.job_id), "gone": None})
    job.increment_stage_metadata("done")
    job.increment_stage_metadata("waiting", -0.5, "later")
    job.add_jobs("later", JobInfo("NoOp"), {"parameters": {"n": 1}})


class SeesOnLoop(AbstractJob):
    async def run(self, size: Any = None) -> Any:
        return [seen_by(self), size]


class SeesOnThread(AbstractJob):
    def run(self, size: Any = None) -> Any:
        return [seen_by(self), size]


class SeesInProcess(AbstractJob):
    executor = "process"

    def run(self, size: Any = None) -> Any:
        return [seen_by(self), size]


class ChangesOnLoop(AbstractJob):
    async def run(self) -> None:
        change(self)


class ChangesOnThread(AbstractJob):
    def run(self) -> None:
        change(self)


class ChangesInProcess(AbstractJob):
    executor = "process"

    def run(self) -> None:
        change(self)


class Counts(AbstractJob):
    """Fails after it has counted, as often as it is told."""

    max_attempts = 3
    backoff = 0

    async def run(self, failures: int = 0) -> None:
        self.increment_stage_metadata("count")
        if self.info.attempt <= failures:
            raise ValueError("after it has counted")


class Adds(AbstractJob):
    """Adds to its own stage, or to one that it names, once the file is there. Hears no stop."""

    def run(self, file: Path | None = None, stage: str | None = None) -> None:
        while file is not None and not file.exists():
            time.sleep(0.01)
        self.add_jobs(stage, JobInfo("NoOp"))


class NoOp(AbstractJob):
    async def run(self, n: int = 0) -> None:
        del n


class SubmitsNext(AbstractJob):
    async def run(self) -> None:
        self.submit_next(JobInfo("NoOp"), JobInfo("NoOp", tenant="bolt"))
