"""Parameters that refer to the data of their stage and pipeline."""

import json
from collections.abc import Mapping
from typing import Any

import pytest

from jobservice import AbstractJob, JobInfo, JobParameterMissing, Pipeline, Stage
from jobservice.domain.errors import InvalidSubmission
from jobservice.sdk.pipeline import stage_job
from jobservice.sdk.references import escaped, may_refer, resolve

DATA = {"stage": {"size": 2**70, "tile": {"x": [1, None]}, "none": None}, "pipeline": {"bucket": "maps"}}


def resolved(parameters: dict[str, Any], data: Mapping[str, Mapping[str, Any]] | None = DATA) -> Any:
    return json.loads(resolve(json.dumps(parameters), data))


def test_a_reference_is_replaced_by_the_member_at_any_depth() -> None:
    parameters = {
        "size": {"$stage": "size"},
        "none": {"$stage": "none"},
        "deep": [{"in": [{"$pipeline": "bucket"}, 5]}, {"$stage": "tile"}],
        "beside": {"a": {"$pipeline": "bucket"}, "b": 1.5},
    }

    assert resolved(parameters) == {
        "size": 2**70,
        "none": None,
        "deep": [{"in": ["maps", 5]}, {"x": [1, None]}],
        "beside": {"a": "maps", "b": 1.5},
    }


@pytest.mark.parametrize(
    "value", [{"$stage": "size", "and": 1}, {"$stage": 5}, {"$stage": ["size"]}, {"$other": "size"}, {"stage": "size"}]
)
def test_what_is_not_exactly_a_reference_stays_as_it_is(value: dict[str, Any]) -> None:
    assert resolved({"value": value}) == {"value": value}


def test_one_more_sign_keeps_the_member_and_what_is_in_it_is_looked_at_all_the_same() -> None:
    escaped = {"a": {"$$stage": "size"}, "b": {"$$$pipeline": "x"}, "c": {"$$stage": {"$pipeline": "bucket"}}}

    assert resolved(escaped) == {"a": {"$stage": "size"}, "b": {"$$pipeline": "x"}, "c": {"$stage": "maps"}}


def test_the_parameters_themselves_are_no_reference_and_what_is_put_in_is_not_looked_at() -> None:
    data = {"stage": {"a": {"$stage": "b"}, "b": 1}, "pipeline": {}}

    assert resolved({"$stage": "a"}) == {"$stage": "a"}
    assert resolved({"a": {"$stage": "a"}}, data) == {"a": {"$stage": "b"}}


@pytest.mark.parametrize(
    ("parameters", "data", "said"),
    [
        ({"a": {"$stage": "bucket"}}, DATA, "'$stage.bucket' is missing: the data of its stage has no such member"),
        ({"a": [{"$pipeline": "size"}]}, DATA, "'$pipeline.size' is missing: the data of its pipeline"),
        ({"a": {"$stage": "size"}}, None, "'$stage.size' is missing: the job belongs to no stage"),
    ],
)
def test_what_is_not_there_is_missing_and_named(parameters: dict[str, Any], data: Any, said: str) -> None:
    with pytest.raises(JobParameterMissing) as missing:
        resolved(parameters, data)

    assert said in str(missing.value)


def test_what_stands_alone_says_without_a_stage_what_it_said_with_one() -> None:
    data = {"stage": {"a": {"$stage": "b"}, "c": {"x": [{"$$pipeline": "d"}]}}, "pipeline": {"bucket": "maps"}}
    parameters = {
        "bucket": {"$pipeline": "bucket"},
        "like_one": {"$stage": "a"},
        "deep": [{"$stage": "c"}, {"$$stage": "kept"}, {"$stage": 5}, {"$other": "x"}, {"$stage": "a", "and": 1}],
    }

    alone = escaped(resolve(json.dumps(parameters), data))

    assert resolved(json.loads(alone), None) == resolved(parameters, data)


def test_only_a_text_with_the_sign_is_read() -> None:
    assert may_refer('{"a": {"$stage": "b"}}')
    assert not may_refer('{"price": "5 $", "stage": "$"}'.replace('"$"', '"s"'))


class Cut(AbstractJob):
    async def run(self, size: int, bucket: str, tile: dict[str, int] | None = None) -> None: ...


def test_a_submission_is_checked_against_its_class_with_the_references_left_out() -> None:
    parameters = {"size": {"$stage": "size"}, "bucket": {"$pipeline": "bucket"}, "tile": {"x": {"$stage": "x"}}}

    for job in (JobInfo(Cut, parameters=parameters), {"job_class": Cut, "parameters": parameters}):
        assert stage_job(job) == {"job_class": "Cut", "parameters": parameters}
    assert JobInfo(Cut, parameters=parameters).to_submission()["parameters"] == parameters


@pytest.mark.parametrize(
    ("parameters", "said"),
    [
        ({"size": {"$stage": "size"}}, "'bucket' is missing"),
        ({"size": {"$stage": "size"}, "bucket": 5}, "'bucket' is invalid"),
        ({"size": {"$$stage": "size"}, "bucket": "b"}, "'size' is invalid"),
        ({"size": 1, "bucket": "b", "colour": {"$stage": "size"}}, "'colour' is invalid: the job has no such"),
    ],
)
def test_what_no_reference_can_mend_is_refused_when_it_is_submitted(parameters: dict[str, Any], said: str) -> None:
    pipeline = Pipeline("p", stages=[Stage(job_class=Cut, jobs=[{"parameters": parameters}])])

    with pytest.raises(InvalidSubmission, match=said) as refused:
        JobInfo(Cut, parameters=parameters).to_submission()
    with pytest.raises(InvalidSubmission, match=said):
        pipeline.to_submission()

    assert refused.value.field is not None
    assert refused.value.field.startswith("parameters.")


@pytest.mark.parametrize(
    "value",
    [
        {"$stage": "size"},
        {"$$stage": "size"},
        {"$stage": {"$pipeline": "x"}},
        {"$stage": 1.5},
        {"a": [{"$pipeline": "x"}]},
    ],
)
def test_what_is_escaped_is_resolved_to_itself(value: dict[str, Any]) -> None:
    text = json.dumps({"p": value})

    assert json.loads(resolve(escaped(text), None)) == json.loads(text)
