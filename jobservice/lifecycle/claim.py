"""Claims jobs for a daemon: QUEUED → TO_BE_RUN, many at once, one call and one transaction."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from uuid import UUID

import asyncpg

from jobservice.domain.claimed import ClaimedJob, ClaimedStage
from jobservice.domain.facts import Committed, EventMode, Fact, JobCard
from jobservice.domain.states import JobStatus
from jobservice.store.cards import card_of
from jobservice.store.sql import load

_FILE = Path(__file__).with_name("claim.sql")

FIRST_CLAIM = 2
"""The sequence of a claim that follows the submission directly: nothing was published before it."""


def first_published(*, submissions: bool) -> int:
    """A claim with a higher sequence says that something of the job may have been published before."""
    return FIRST_CLAIM - 1 if submissions else FIRST_CLAIM


@dataclass(frozen=True, slots=True)
class Claim:
    """What one claim brought. `keys` are the concurrency keys of the jobs that have one, as (tenant, key).

    `committed` is None where nothing is to be published. `again_in`: nothing came because of a rate, and something may
    so many seconds from now.
    """

    jobs: tuple[ClaimedJob, ...] = ()
    committed: Committed | None = None
    keys: Mapping[UUID, tuple[str, str]] | None = None
    again_in: float | None = None


class Claimer:
    """The claim of one daemon."""

    def __init__(self, *, daemon_id: UUID, schema: str, submissions_published: bool) -> None:
        self._daemon_id = daemon_id
        self._sql = load(_FILE, schema)
        self._submissions_published = submissions_published

    async def claim(
        self,
        connection: asyncpg.Connection,
        *,
        queue: str,
        slots: int,
        skipped_classes: Sequence[str],
        charges: Mapping[str, float],
        unwritten: Sequence[UUID] = (),
    ) -> Claim:
        """Up to `slots` jobs of `queue`. `charges` are slot-seconds by tenant that ended since the last claim.

        Whatever it raises, jobs may have been claimed: the stages that they belong to are read after the commit.

        `unwritten` are jobs whose runs have ended here and whose rows do not say so yet: what they took is charged, and
        the fair choice does not count their slots. Limits do.
        """
        rows = [
            row
            async for row in self._sql.claim(
                connection,
                queue=queue,
                slots=slots,
                daemon=self._daemon_id,
                skipped_classes=list(skipped_classes),
                charged_tenants=list(charges),
                charged_seconds=list(charges.values()),
                ended=list(unwritten),
            )
        ]
        if not rows:
            return Claim()
        if rows[0]["id"] is None:
            return Claim(again_in=rows[0]["again_in"])
        events: EventMode = rows[0]["events"]
        cards = {row["id"]: card_of(row, queue=queue, events=events) for row in rows}
        stages = await self._stages(connection, {row["stage_id"] for row in rows if row["stage_id"] is not None})
        return Claim(
            jobs=tuple(_job(row, cards[row["id"]], stages.get(row["stage_id"])) for row in rows),
            committed=self._committed(rows, cards) if rows[0]["outbox_id"] is not None else None,
            keys={row["id"]: (row["tenant"], row["concurrency_key"]) for row in rows if row["concurrency_key"]},
        )

    async def unblock(self, connection: asyncpg.Connection, keys: Sequence[tuple[str, str]]) -> None:
        """Lets the next jobs of these concurrency keys into the claimable index, after their runs ended."""
        async for _ in self._sql.unblock(connection, tenants=[t for t, _ in keys], keys=[k for _, k in keys]):
            pass

    async def _stages(self, connection: asyncpg.Connection, ids: Collection[UUID]) -> Mapping[UUID, ClaimedStage]:
        if not ids:
            return {}
        rows = self._sql.stages_of(connection, ids=list(ids))
        return {row["id"]: ClaimedStage(row["stage"], row["pipeline"]) async for row in rows}

    def _committed(self, rows: Sequence[asyncpg.Record], cards: Mapping[UUID, JobCard]) -> Committed:
        first = first_published(submissions=self._submissions_published)
        return Committed(
            outbox_id=rows[0]["outbox_id"],
            facts=tuple(self._fact(row) for row in rows),
            cards=cards,
            results={},
            look_back=any(row["sequence"] > first for row in rows),
        )

    def _fact(self, row: asyncpg.Record) -> Fact:
        return Fact(
            job_id=row["id"],
            sequence=row["sequence"],
            run=row["run"],
            attempt=row["attempt"],
            status=JobStatus.TO_BE_RUN,
            previous_status=JobStatus.QUEUED,
            time=row["claim_date"],
            priority=row["priority"],
            percent_completed=0,
            daemon_id=self._daemon_id,
        )


def _job(row: asyncpg.Record, card: JobCard, stage: ClaimedStage | None) -> ClaimedJob:
    return ClaimedJob(
        card=card,
        run=row["run"],
        attempt=row["attempt"],
        max_attempts=row["max_attempts"],
        sequence=row["sequence"],
        priority=row["priority"],
        parameters=row["parameters"],
        expired=row["expired"],
        timeout=row["timeout"],
        user_metadata=row["user_metadata"],
        created_date=row["created_date"],
        stage=stage,
        has_key=row["concurrency_key"] is not None,
    )
