"""What a user writes of a schedule."""

from datetime import date
from typing import Any

import pytest

from jobservice import AbstractJob, JobInfo, Pipeline, Schedule, Stage
from jobservice.domain.errors import InvalidSubmission


class Close(AbstractJob):
    queue = "books"

    async def run(self, day: date) -> None: ...


def test_a_jobs_tenant_queue_and_parameters_are_those_of_its_ticks() -> None:
    job = JobInfo(Close, tenant="acme", parameters={"day": "{fire_date:%Y-%m-%d}"})

    definition = Schedule("close", job, cron="@daily").definition()

    assert (definition.tenant, definition.overlap) == ("acme", "allow")
    assert definition.job == {
        "job_class": "Close",
        "tenant": "acme",
        "queue": "books",
        "parameters": {"day": "{fire_date:%Y-%m-%d}"},
    }


@pytest.mark.parametrize("day", ["{fire_date:%d.%m.%Y}", "{schedule}", "{day}"])
def test_parameters_are_checked_as_a_tick_would_say_them(day: str) -> None:
    with pytest.raises(InvalidSubmission) as refused:
        Schedule("close", JobInfo(Close, parameters={"day": day}), cron="@daily").definition()

    assert (refused.value.field or "").startswith("parameters")


def test_a_pipeline_may_stand_for_the_job() -> None:
    pipeline = Pipeline("books", tenant="acme", stages=[Stage("close", jobs=[JobInfo("Close")])])

    definition = Schedule("books", pipeline=pipeline, every=60).definition()

    assert (definition.tenant, definition.job, (definition.pipeline or {})["name"]) == ("acme", None, "books")


@pytest.mark.parametrize(
    ("field", "given"),
    [
        ("catch_up", {"catch_up": "never"}),
        ("overlap", {"overlap": "maybe"}),
        ("tenant", {"tenant": "other"}),
        ("every", {"every": -1}),
    ],
)
def test_what_means_nothing_is_refused_and_named(field: str, given: dict[str, Any]) -> None:
    with pytest.raises(InvalidSubmission) as refused:
        Schedule("x", JobInfo("Nap", tenant="acme"), **{"every": 60, **given}).definition()

    assert refused.value.field == field
