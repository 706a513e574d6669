"""What cannot be a pipeline, an id, a status or a page is refused in words, whichever way it would go."""

from collections.abc import AsyncIterator, Callable
from typing import Any
from uuid import uuid4

import pytest

from jobservice import InvalidSubmission, JobInfo, JobInfoService, JobStatus, NotLegal, Pipeline, Stage
from jobservice.domain.pipelines import PipelineStatus

JOB = {"job_class": "Tile"}


@pytest.fixture
async def jobs(database_url: str) -> AsyncIterator[JobInfoService]:
    async with JobInfoService.connect(database_url, "amqp://guest:guest@127.0.0.1:1/") as service:
        yield service


@pytest.mark.parametrize(
    ("pipeline", "field", "said"),
    [
        (None, "pipeline", "not NoneType"),
        (["x"], "pipeline", "not list"),
        (Pipeline("x", stages=5), "stages", "not int"),  # type: ignore[arg-type]
        (Pipeline("x", stages=None), "stages", "not NoneType"),  # type: ignore[arg-type]
        (Pipeline("x", stages=[5]), "stages[0]", "a Stage or a mapping"),  # type: ignore[list-item]
        (Pipeline("x", stages=[Stage(jobs=JOB)]), "stages[0].jobs", "is a list"),  # type: ignore[arg-type]
        (Pipeline("x", stages=[Stage(jobs=5)]), "stages[0].jobs", "not int"),  # type: ignore[arg-type]
        (Pipeline("x", stages=[{"name": "a.b"}]), "stages[0].name", "must match"),
        (Pipeline("x", stages=[Stage(jobs=[JobInfo("Tile", tenant="zoo")])]), "stages[0].jobs[0].tenant", "pipeline"),
        (
            Pipeline("x", stages=[Stage(jobs=[JobInfo("Tile", status=JobStatus.PENDING)])]),
            "stages[0].jobs[0].status",
            "the stage decides",
        ),
    ],
)
async def test_what_is_no_pipeline_is_refused_with_the_place_in_it(
    jobs: JobInfoService, pipeline: Any, field: str, said: str
) -> None:
    with pytest.raises(InvalidSubmission, match=said) as refused:
        await jobs.pipelines.create(pipeline)

    assert (refused.value.field, await jobs.pipelines.count()) == (field, 0)


async def test_a_stage_may_be_a_mapping_and_a_job_may_name_the_tenant_of_its_pipeline(jobs: JobInfoService) -> None:
    stages = [Stage("one", jobs=[JobInfo("Tile", tenant="acme")]), {"name": "two", "jobs": [JOB]}]

    made = await jobs.pipelines.create(Pipeline("map", tenant="acme", stages=stages))

    assert [(stage.name, stage.total) for stage in made.stages] == [("one", 1), ("two", 1)]


async def test_an_id_may_be_a_text_but_no_other_word(jobs: JobInfoService) -> None:
    made = await jobs.pipelines.create(Pipeline("map", status=PipelineStatus.PENDING))

    (paused,) = await jobs.pipelines.start(str(made.pipeline_id))  # type: ignore[arg-type]

    assert paused.accepted
    with pytest.raises(InvalidSubmission, match="'map' is no id"):
        await jobs.pipelines.stop("map")  # type: ignore[arg-type]
    with pytest.raises(InvalidSubmission, match="invalid UUID 'map'"):
        await jobs.pipelines.get("map")  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("call", "said"),
    [
        (lambda pipelines: pipelines.find(limit=0), "limit is a whole number from 1"),
        (lambda pipelines: pipelines.find(status="LATE"), "one of PENDING, QUEUED"),
        (lambda pipelines: pipelines.find(name="a\0"), "no form that PostgreSQL takes"),
        (lambda pipelines: pipelines.stop(uuid4(), reason=5), "reason is a text"),
        (lambda pipelines: pipelines.add_jobs(uuid4(), JOB), "jobs is a list"),
        (lambda pipelines: pipelines.increment_stage_metadata(uuid4(), "n", "x"), "n is a number"),
        (lambda pipelines: pipelines.increment_stage_metadata(uuid4(), 5), "key is a text"),
    ],
)
async def test_what_is_of_the_wrong_type_is_refused_in_words(
    jobs: JobInfoService, call: Callable[[Any], Any], said: str
) -> None:
    with pytest.raises(InvalidSubmission, match=said):
        await call(jobs.pipelines)


def test_a_subscription_takes_statuses_as_texts_and_refuses_those_that_no_pipeline_has(jobs: JobInfoService) -> None:
    jobs.pipelines.events(statuses={"RUNNING"})  # type: ignore[arg-type]

    with pytest.raises(InvalidSubmission, match="TO_BE_RUN"):
        jobs.pipelines.events(statuses={JobStatus.TO_BE_RUN})  # type: ignore[arg-type]


async def test_a_refusal_says_once_which_status_forbids_it(jobs: JobInfoService) -> None:
    made = await jobs.pipelines.create(Pipeline("empty", stages=[Stage("one")]))

    with pytest.raises(NotLegal) as adding:
        await jobs.pipelines.add_stage(made.pipeline_id, Stage("more"))
    with pytest.raises(NotLegal) as changing:
        await jobs.pipelines.set_priority(made.pipeline_id, 1)

    assert str(adding.value) == f"cannot add a stage to pipeline {made.pipeline_id}: it is SUCCEEDED"
    assert str(changing.value) == f"cannot set the priority of pipeline {made.pipeline_id}: it is SUCCEEDED"


async def test_a_check_raises_what_a_submission_would_and_stores_nothing(jobs: JobInfoService) -> None:
    await jobs.pipelines.check({"name": "map", "stages": [{"jobs": [JOB]}]})

    with pytest.raises(InvalidSubmission) as refused:
        await jobs.pipelines.check({"name": "map", "stages": [{"jobs": [{}]}]})

    assert (refused.value.field, await jobs.pipelines.count()) == ("stages[0].jobs[0].job_class", 0)
