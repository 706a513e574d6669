"""Puts a claimed job of a test into a stage of a pipeline that is nowhere stored."""

from collections.abc import Mapping
from dataclasses import asdict, replace
from typing import Any
from uuid import uuid4

from jobservice.domain.claimed import ClaimedJob, ClaimedStage
from jobservice.domain.pipelines import OnFailure, PipelineStatus
from jobservice.sdk.json_values import PARAMETERS_DEPTH_MAX, dump, to_plain
from jobservice.sdk.pipeline import PipelineInfo, StageInfo

_DEPTH = PARAMETERS_DEPTH_MAX + 1


def in_a_stage(claimed: ClaimedJob, stage_data: Mapping[str, Any], pipeline_data: Mapping[str, Any]) -> ClaimedJob:
    """The only job of the only stage, with these data. Raises NotJson for what JSON cannot carry."""
    card, date = claimed.card, claimed.created_date
    pipeline = PipelineInfo(
        pipeline_id=uuid4(),
        tenant=card.tenant,
        name="pipeline",
        queue=card.queue,
        priority=claimed.priority,
        status=PipelineStatus.QUEUED,
        open=False,
        paused=False,
        ending=None,
        reason=None,
        sequence=2,
        percent_completed=0,
        data=pipeline_data,
        user_metadata={},
        owner=card.owner,
        description=None,
        correlation_id=card.correlation_id,
        traceparent=card.traceparent,
        idempotency_key=None,
        created_date=date,
        updated_date=date,
    )
    stage = StageInfo(
        stage_id=uuid4(),
        pipeline_id=pipeline.pipeline_id,
        position=1,
        name="stage-1",
        job_class=None,
        status=PipelineStatus.QUEUED,
        hold=False,
        open=False,
        on_failure=OnFailure.FINISH_STAGE,
        allowed_failures=0.0,
        max_attempts=3,
        reason=None,
        total=1,
        succeeded=0,
        failed=0,
        aborted=0,
        retried=0,
        percent_completed=0,
        sequence=2,
        data=stage_data,
        user_metadata={},
        created_date=date,
        open_date=date,
    )
    card = replace(card, pipeline_id=pipeline.pipeline_id, stage_id=stage.stage_id)
    return replace(claimed, card=card, stage=ClaimedStage(_row(stage), _row(pipeline)))


def _row(info: StageInfo | PipelineInfo) -> str:
    return dump(to_plain(asdict(info), _DEPTH))
