"""Owns how a claimed job, its stage and its pipeline are shown to the job's own class."""

import json
from functools import lru_cache
from typing import Any

from pydantic import TypeAdapter

from jobservice.domain.claimed import ClaimedJob, ClaimedStage
from jobservice.domain.states import JobStatus
from jobservice.sdk.job_info import JobInfo
from jobservice.sdk.pipeline import PipelineInfo, StageInfo
from jobservice.sdk.references import escaped, may_refer, resolve

_STAGE = TypeAdapter(StageInfo)
_PIPELINE = TypeAdapter(PipelineInfo)


def info_of(claimed: ClaimedJob) -> JobInfo:
    """What the claim knows; dates and results of the run are not among it."""
    card = claimed.card
    return JobInfo(
        job_class=card.job_class,
        tenant=card.tenant,
        queue=card.queue,
        parameters=json.loads(claimed.parameters),
        priority=claimed.priority,
        description=card.description,
        owner=card.owner,
        timeout=claimed.timeout,
        max_attempts=claimed.max_attempts,
        correlation_id=card.correlation_id,
        traceparent=card.traceparent,
        user_metadata=json.loads(claimed.user_metadata),
        status=JobStatus.RUNNING,
        job_id=card.job_id,
        run=claimed.run,
        attempt=claimed.attempt,
        sequence=claimed.sequence,
        created_date=claimed.created_date,
        pipeline_id=card.pipeline_id,
        stage_id=card.stage_id,
    )


def stage_of(claimed: ClaimedStage) -> StageInfo:
    """The stage as it stood at the claim, made anew for each job: whatever one does to its data, no other sees."""
    return _STAGE.validate_json(claimed.stage)


def pipeline_of(claimed: ClaimedStage) -> PipelineInfo:
    """The same of the pipeline."""
    return _PIPELINE.validate_json(claimed.pipeline)


def parameters_of(claimed: ClaimedJob) -> str:
    """The parameters with what they refer to put in. Raises JobParameterMissing for what is not there."""
    if not may_refer(claimed.parameters):
        return claimed.parameters
    stage = claimed.stage
    data = None if stage is None else {"stage": _data_in(stage.stage), "pipeline": _data_in(stage.pipeline)}
    return resolve(claimed.parameters, data)


def parameters_of_parts(claimed: ClaimedJob) -> str:
    """The same for the parts of its steps: they belong to another pipeline, and find nothing to put in any more."""
    return escaped(parameters_of(claimed))


@lru_cache(maxsize=8)
def _data_in(row: str) -> dict[str, Any]:
    """Kept for the other jobs of the stage. To be read only."""
    data: dict[str, Any] = json.loads(row)["data"]
    return data
