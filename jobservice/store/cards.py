"""A job's card from a row that has its columns."""

import asyncpg

from jobservice.domain.facts import EventMode, JobCard


def card_of(row: asyncpg.Record, *, queue: str, events: EventMode = "all") -> JobCard:
    """The card of the job in this row; a claim's rows do not repeat the queue. `events`: what is told of its run."""
    return JobCard(
        job_id=row["id"],
        tenant=row["tenant"],
        queue=queue,
        job_class=row["job_class"],
        owner=row["owner"],
        description=row["description"],
        correlation_id=row["correlation_id"],
        traceparent=row["traceparent"],
        pipeline_id=row["pipeline_id"],
        stage_id=row["stage_id"],
        events=events,
    )
