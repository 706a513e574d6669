"""Claims as a daemon makes them, ends by hand, and how many index entries the transaction has read so far."""

from collections.abc import Mapping
from uuid import UUID

import asyncpg

from jobservice.lifecycle.claim import Claimer

SUBMIT = "SELECT job_id FROM jobservice.submit($1::text::jsonb)"
FINISH = """UPDATE jobservice.job_info SET status = 'SUCCEEDED', start_date = claim_date, stop_date = clock_timestamp(),
                   percent_completed = 100 WHERE id = ANY ($1::uuid[])"""
ENTRIES = """SELECT sum(pg_stat_get_xact_tuples_returned(c.oid))::bigint FROM pg_class c
             WHERE c.relnamespace = 'jobservice'::regnamespace AND c.relkind = 'i'"""


async def claim(
    connection: asyncpg.Connection,
    daemon: UUID,
    slots: int,
    charges: Mapping[str, float] | None = None,
    *,
    queue: str = "default",
) -> list[UUID]:
    """The ids of what it brought."""
    claimer = Claimer(daemon_id=daemon, schema="jobservice", submissions_published=False)
    found = await claimer.claim(connection, queue=queue, slots=slots, skipped_classes=(), charges=charges or {})
    return [job.card.job_id for job in found.jobs]
