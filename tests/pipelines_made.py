"""Pipelines as a client with a database makes them."""

from typing import Any

from jobservice import JobInfo, JobInfoService, Pipeline, PipelineInfo, PipelineStatus, Stage

PENDING, QUEUED = PipelineStatus.PENDING, PipelineStatus.QUEUED
SUCCEEDED, ABORTED = PipelineStatus.SUCCEEDED, PipelineStatus.ABORTED


def two_stages(**fields: Any) -> Pipeline:
    """Two jobs, then one."""
    return Pipeline(
        "create-map",
        **{
            "tenant": "acme",
            "stages": [
                Stage("process", job_class="ProcessTile", jobs=[{"parameters": {"x": n}} for n in range(2)]),
                Stage("upload", jobs=[JobInfo("UploadTile", priority=7)]),
            ],
            **fields,
        },
    )


async def in_status(jobs: JobInfoService, status: PipelineStatus) -> PipelineInfo:
    """A pipeline as it would be after its life so far; an open one where it has not ended."""
    pipelines = jobs.pipelines
    if status is SUCCEEDED:
        return await pipelines.create(Pipeline("empty", stages=[Stage()]))
    waiting = await pipelines.create(two_stages(status=PENDING if status is PENDING else QUEUED, open=True))
    if status is ABORTED:
        await pipelines.stop(waiting.pipeline_id)
    return await pipelines.get(waiting.pipeline_id)
