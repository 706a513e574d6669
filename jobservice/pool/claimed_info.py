"""Owns how a claimed job is shown to its own job class, as a JobInfo."""

import json

from jobservice.domain.claimed import ClaimedJob
from jobservice.domain.states import JobStatus
from jobservice.sdk.job_info import JobInfo


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
