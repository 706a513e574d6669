"""Pipelines on real daemons: stages open one after the other, in the transaction that ends a job."""

import json
from typing import Any
from uuid import UUID

import asyncpg
from daemons import Books, Daemons, until


class Pipes:
    """Pipelines as any foreign client sees them: with plain SQL."""

    def __init__(self, books: Books) -> None:
        self.books = books

    async def submit(self, **fields: Any) -> UUID:
        return UUID(
            str(
                await self.books.value(
                    "SELECT pipeline_id FROM jobservice.submit_pipeline($1::text::jsonb)", json.dumps(fields)
                )
            )
        )

    async def command(self, verb: str, pipeline_id: UUID, argument: Any = None) -> asyncpg.Record:
        return await self.books.connection.fetchrow(
            "SELECT * FROM jobservice.command_pipelines(ARRAY[$1::uuid], $2, $3::text::jsonb)",
            pipeline_id,
            verb,
            json.dumps(argument),
        )

    async def stages(self, pipeline_id: UUID) -> list[asyncpg.Record]:
        return await self.books.connection.fetch(
            "SELECT * FROM jobservice.stage WHERE pipeline_id = $1 ORDER BY position", pipeline_id
        )

    async def is_in(self, pipeline_id: UUID, *statuses: str) -> asyncpg.Record:
        async def look() -> asyncpg.Record | None:
            row = await self.books.connection.fetchrow("SELECT * FROM jobservice.pipeline WHERE id = $1", pipeline_id)
            return row if row["status"] in statuses else None

        return await until(look, f"pipeline {pipeline_id} in {statuses}")


def jobs(count: int, job_class: str = "NoOp") -> list[dict[str, Any]]:
    return [{"job_class": job_class, "parameters": {}} for _ in range(count)]


async def test_stages_run_in_waves_and_the_last_one_completes_the_pipeline(daemons: Daemons, books: Books) -> None:
    pipes = Pipes(books)
    await daemons.start()

    pipeline = await pipes.submit(name="waves", stages=[{"jobs": jobs(3)}, {"jobs": jobs(1)}, {}, {"jobs": jobs(3)}])

    row = await pipes.is_in(pipeline, "SUCCEEDED", "FAILED", "ABORTED")
    assert (row["status"], row["percent_completed"], row["unsettled"]) == ("SUCCEEDED", 100, False)
    stages = await pipes.stages(pipeline)
    assert [(each["status"], each["succeeded"]) for each in stages] == [("SUCCEEDED", n) for n in (3, 1, 0, 3)]
    overtaken = await books.value(
        """SELECT count(*) FROM jobservice.job_info a JOIN jobservice.stage s ON s.id = a.stage_id
           JOIN jobservice.stage n ON n.pipeline_id = s.pipeline_id AND n.position > s.position
           JOIN jobservice.job_info b ON b.stage_id = n.id WHERE b.start_date < a.stop_date"""
    )
    assert overtaken == 0


async def test_a_failed_job_fails_its_stage_and_no_later_one_opens(daemons: Daemons, books: Books) -> None:
    pipes = Pipes(books)
    await daemons.start()

    failing = {"job_class": "Raises", "parameters": {"text": "no"}, "max_attempts": 1}
    pipeline = await pipes.submit(name="broken", stages=[{"jobs": [*jobs(5), failing]}, {"jobs": jobs(2)}, {}])

    row = await pipes.is_in(pipeline, "SUCCEEDED", "FAILED", "ABORTED")
    assert (row["status"], row["reason"]) == ("FAILED", "stage 1 (stage-1): 1 of its 6 jobs failed")
    stages = await pipes.stages(pipeline)
    assert [(s["status"], s["succeeded"], s["failed"], s["aborted"]) for s in stages] == [
        ("FAILED", 5, 1, 0),
        ("ABORTED", 0, 0, 2),
        ("ABORTED", 0, 0, 0),
    ]


async def test_a_stage_of_many_jobs_is_queued_in_bounded_batches_by_any_daemon(daemons: Daemons, books: Books) -> None:
    pipes = Pipes(books)
    await daemons.start(pool={"capacity": 100})

    pipeline = await pipes.submit(name="wide", stages=[{"jobs": jobs(1)}, {"jobs": jobs(3_500)}])

    assert (await pipes.is_in(pipeline, "SUCCEEDED", "FAILED", "ABORTED"))["status"] == "SUCCEEDED"
    assert [stage["succeeded"] for stage in await pipes.stages(pipeline)] == [1, 3_500]
