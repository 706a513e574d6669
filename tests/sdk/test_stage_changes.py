"""What a job may ask of stages: the types are checked at once."""

from dataclasses import replace
from datetime import UTC, datetime
from typing import Any
from uuid import uuid4

import pytest

from jobservice import AbstractJob, JobInfo
from jobservice.domain.claimed import ClaimedJob
from jobservice.domain.errors import InvalidSubmission
from jobservice.domain.facts import JobCard
from jobservice.domain.outcomes import Succeeded
from jobservice.pool.run_context import RunContext
from jobservice.sdk.abstract_job import instantiate
from jobservice.sdk.stage_changes import NoStage
from jobservice.testing.stages import in_a_stage

CARD = JobCard(job_id=uuid4(), tenant="acme", queue="default", job_class="Work")
ALONE = ClaimedJob(
    card=CARD,
    run=1,
    attempt=1,
    max_attempts=None,
    sequence=2,
    priority=0,
    parameters="{}",
    expired=False,
    timeout=None,
    user_metadata="{}",
    created_date=datetime(2030, 1, 1, tzinfo=UTC),
)


class Work(AbstractJob):
    def run(self) -> None: ...


def job_of(claimed: ClaimedJob) -> tuple[Work, RunContext]:
    context = RunContext(claimed=claimed, log=None)  # type: ignore[arg-type]
    return instantiate(Work, context), context


@pytest.mark.parametrize(
    ("verb", "arguments"),
    [
        ("update_stage_metadata", (["no object"],)),
        ("update_stage_metadata", ({"n": float("nan")},)),
        ("update_stage_metadata", ({"n": 1}, 5)),
        ("update_stage_metadata", ({"n": object()},)),
        ("increment_stage_metadata", (5,)),
        ("increment_stage_metadata", ("n", "1")),
        ("increment_stage_metadata", ("n", True)),
        ("increment_stage_metadata", ("n", float("inf"))),
        ("increment_stage_metadata", ("n\x00",)),
        ("add_jobs", ("upload", 5)),
        ("add_jobs", (None, JobInfo("Next", parameters={"n": float("nan")}))),
    ],
)
def test_what_no_stage_could_take_is_refused_where_it_is_said(verb: str, arguments: tuple[Any, ...]) -> None:
    job, context = job_of(in_a_stage(ALONE, {}, {}))

    with pytest.raises(InvalidSubmission):
        getattr(job, verb)(*arguments)

    assert context._wishes is None


def test_without_a_stage_there_is_nothing_to_change() -> None:
    job, _ = job_of(ALONE)

    for verb, argument in (
        ("update_stage_metadata", {}),
        ("increment_stage_metadata", "n"),
        ("add_jobs", JobInfo("Next")),
    ):
        with pytest.raises(NoStage):
            getattr(job, verb)(argument)
    assert (job.stage, job.pipeline) == (None, None)


def test_a_stage_may_be_named_by_what_was_read_its_id_or_its_name_and_is_always_of_the_own_pipeline() -> None:
    job, context = job_of(in_a_stage(ALONE, {}, {}))
    assert job.stage is not None
    other = uuid4()

    for stage in (None, job.stage, replace(job.stage, stage_id=other), other, str(other), "upload"):
        job.increment_stage_metadata("n", stage=stage)

    assert context._wishes is not None
    succeeded = context._wishes.succeeded(None, None)
    own, pipeline = job.stage.stage_id, job.stage.pipeline_id
    ids = [own, own, other, other, other]
    said = [f'{{"pipeline_id":"{pipeline}","stage_id":"{each}","increment":"n","by":1}}' for each in ids]
    said.append(f'{{"pipeline_id":"{pipeline}","stage":"upload","from":"{own}","increment":"n","by":1}}')
    assert succeeded == Succeeded(stage_changes=f"[{','.join(said)}]")
