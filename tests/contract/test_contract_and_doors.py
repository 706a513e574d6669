"""The schema of submissions against the door that decides: what a schema takes the door takes, and what the
door refuses the schema does not take, but for what no schema can know."""

import json
from collections.abc import Iterator
from typing import Any

import psycopg
import pytest
from aiormq import spec
from contracts import complaints, document, fields_of, validator
from edges import EDGES, LATER, several_calls, values
from hypothesis import given
from hypothesis import strategies as st

from jobservice import Pipeline, Stage
from jobservice.broker.incoming import Incoming
from jobservice.domain.errors import InvalidSubmission
from jobservice.sdk.job_info import JobInfo
from jobservice.sdk.json_values import PARAMETERS_DEPTH_MAX, NotJson, to_plain
from jobservice.submission.reading import read
from jobservice.submission.trees import Tree

SUBMISSION = validator("submission")
FIELDS = sorted(document("submission.schema.json")["definitions"]["Submission"]["properties"])


# ------------------------------------------------------------------------------------------------------ submissions


@pytest.fixture
def database(database_url: str) -> Iterator[psycopg.Connection]:
    with psycopg.connect(database_url, autocommit=True, options="-c search_path=jobservice") as connection:
        yield connection


def refused_by_the_door(database: psycopg.Connection, job: Any) -> str | None:
    """Why a submission by message would be refused; None: it would be stored."""
    try:
        plain = to_plain(job, 1 + PARAMETERS_DEPTH_MAX)
    except NotJson as error:
        return str(error)
    row = database.execute("SELECT jobservice.submission_problem(%s::jsonb)", [json.dumps(plain)]).fetchone()
    assert row is not None
    return None if row[0] is None else str(row[0])


def no_schema_can_know(field: str, reason: str) -> bool:
    """What depends on the time, or on what is deep inside a document."""
    return "in the past" in reason or (field in ("parameters", "user_metadata") and "must be an object" not in reason)


def disagreement(database: psycopg.Connection, field: str, value: Any) -> str | None:
    """What schema and door say of a field's value, where they do not agree."""
    job = {"job_class": "Nap"} | {field: value}
    refused, against = refused_by_the_door(database, job), complaints(SUBMISSION, job)
    if bool(refused) == bool(against) or (refused is not None and no_schema_can_know(field, refused)):
        return None
    return f"{field} {value!r:.100}: the door says {refused}, the schema {against}"


def test_schema_and_door_agree_about_values_at_the_edges_in_each_field(database: psycopg.Connection) -> None:
    edges = [*EDGES, None, True, 3.0, [], {}, {"a": [None, 1e300]}]

    found = [disagreement(database, field, value) for field in FIELDS for value in edges]

    assert [each for each in found if each] == []


@several_calls
@given(field=st.sampled_from(FIELDS), value=values)
def test_schema_and_door_agree_about_any_value(database: psycopg.Connection, field: str, value: Any) -> None:
    assert disagreement(database, field, value) is None


def test_the_door_takes_dates_that_the_contract_does_not_promise(database: psycopg.Connection) -> None:
    jobs = [
        {"job_class": "Nap", "expiration_date": date}
        for date in ("2100-01-31 12:00:00,5+0130", "2100-01-31t12:00z", "2100-01-31T12:00:00.25+02")
    ]

    assert [refused_by_the_door(database, job) for job in jobs] == [None, None, None]
    assert [SUBMISSION.is_valid(job) for job in jobs] == [False, False, False]


def test_what_is_no_job_is_refused_by_both_and_an_empty_batch_by_neither(database: psycopg.Connection) -> None:
    for job in ({}, "Nap", None, {"job_class": "Nap", "priorty": 1}):
        assert refused_by_the_door(database, job) is not None
        assert not SUBMISSION.is_valid(job)
        assert not SUBMISSION.is_valid([{"job_class": "Nap"}, job])
    assert SUBMISSION.is_valid([])


def test_the_contract_has_the_fields_of_a_submission_and_no_others(database: psycopg.Connection) -> None:
    full = {
        "tenant": "acme", "queue": "q", "parameters": {"a": 1}, "priority": "HIGH", "description": "d", "owner": "o",
        "expiration_date": LATER, "trigger_after_date": LATER, "timeout": 1.5, "max_attempts": 2,
        "idempotency_key": "i", "concurrency_key": "c", "correlation_id": "r", "traceparent": "t",
        "user_metadata": {"m": []}, "locked": True, "status": "PENDING",
    }  # fmt: skip

    job = {"job_class": "Nap"} | full

    assert sorted(job) == FIELDS
    assert refused_by_the_door(database, job) is None
    assert complaints(SUBMISSION, job) == []
    dates = dict.fromkeys(("expiration_date", "trigger_after_date"))
    assert JobInfo("Nap", **(full | dates)).to_submission().keys() == job.keys() - dates


# -------------------------------------------------------------------------------------------------------- pipelines


def in_a_pipeline(place: str, fields: dict[str, Any]) -> dict[str, Any]:
    """A submission of a pipeline with these fields in it, in its stage, or in the stage's job."""
    job = {"job_class": "Nap"} | (fields if place == "StageJob" else {})
    stage = {"jobs": [job]} | (fields if place == "StageSubmission" else {})
    return {"pipeline": {"name": "p", "stages": [stage]} | (fields if place == "PipelineFields" else {})}


def refused_tree(database: psycopg.Connection, tree: Any) -> str | None:
    """Why it would be refused as a message of acme's; None: it would be stored."""
    properties = spec.Basic.Properties()
    message = Incoming(json.dumps(tree).encode(), "acme", 1, False, properties)
    calls = {
        "pipeline": "SELECT submit_pipeline(%(text)s::jsonb)",
        "stages": "SELECT add_stages(%(to)s, %(text)s::jsonb, %(tenant)s)",
        "jobs": "SELECT add_jobs(%(to)s, %(text)s::jsonb, %(tenant)s)",
    }
    try:
        read_one = read(message, max_bytes=8_388_608)
        assert isinstance(read_one, Tree)
        with database.transaction(force_rollback=True):
            call = {"text": read_one.text, "to": read_one.to, "tenant": read_one.tenant}
            database.execute(calls[read_one.kind], call)
    except (InvalidSubmission, psycopg.errors.InvalidParameterValue) as error:
        return str(error)
    return None


def disagreement_in_a_tree(database: psycopg.Connection, place: str, field: str, value: Any) -> str | None:
    """As for a job's field."""
    also = {"on_failure": "continue"} if field == "allowed_failures" else {}
    tree = in_a_pipeline(place, also | {field: value})
    refused, against = refused_tree(database, tree), complaints(SUBMISSION, tree)
    if bool(refused) == bool(against):
        return None
    if refused is not None and (
        "that of the" in refused or no_schema_can_know(field.replace("data", "parameters"), refused)
    ):
        return None
    return f"{place} {field} {value!r:.100}: the door says {refused}, the schema {against}"


PLACES = ["PipelineFields", "StageSubmission", "StageJob"]


@pytest.mark.parametrize("place", PLACES)
def test_schema_and_door_agree_about_values_at_the_edges_in_each_field_of_a_pipeline(
    place: str, database: psycopg.Connection
) -> None:
    edges = [*EDGES, None, True, 3.0, [], {}, {"a": [None, 1e300]}, [{}], "continue"]

    found = [disagreement_in_a_tree(database, place, field, value) for field in fields_of(place) for value in edges]

    assert [each for each in found if each] == []


@several_calls
@given(place=st.sampled_from(PLACES), data=st.data(), value=values)
def test_schema_and_door_agree_about_any_value_in_a_pipeline(
    database: psycopg.Connection, place: str, data: st.DataObject, value: Any
) -> None:
    field = data.draw(st.sampled_from(fields_of(place)))

    assert disagreement_in_a_tree(database, place, field, value) is None


def test_what_is_no_pipeline_is_refused_by_both(database: psycopg.Connection) -> None:
    row = database.execute('SELECT pipeline_id FROM submit_pipeline(\'{"name": "p", "tenant": "acme", "open": true}\')')
    (pipeline_id,) = row.fetchone() or ()
    (stage_id,) = database.execute("SELECT add_stages(%s, '{\"open\": true}')", [pipeline_id]).fetchone() or ()
    pipeline, stage = str(pipeline_id), str(stage_id)
    good = [
        {"pipeline": {"name": "p"}},
        {"pipeline": {"name": "p", "stages": [{"job_class": "Nap", "jobs": [{}]}]}},
        {"pipeline_id": pipeline, "stages": []},
        {"pipeline_id": pipeline, "stages": [{"jobs": [{"job_class": "Nap"}]}, {}]},
        {"stage_id": stage, "jobs": [{"job_class": "Nap"}]},
        {"stage_id": stage, "jobs": []},
    ]
    bad = [
        {"pipeline": {}},
        {"pipeline": None},
        {"pipeline": []},
        {"pipeline": {"name": "p"}, "job_class": "Nap"},
        {"pipeline": {"name": "p"}, "stages": []},
        {"pipeline": {"name": "p", "stage": []}},
        {"pipeline": {"name": "p", "stages": [{"jobs": [{}]}]}},
        {"pipeline": {"name": "p", "stages": [{"allowed_failures": 0.5}]}},
        {"pipeline": {"name": "p", "stages": [{"allowed_failures": 0.5, "on_failure": "abort_stage"}]}},
        {"pipeline_id": pipeline},
        {"stages": []},
        {"pipeline_id": pipeline, "stages": {}},
        {"pipeline_id": "p", "stages": []},
        {"pipeline_id": pipeline, "stages": [], "jobs": []},
        {"pipeline_id": pipeline, "jobs": []},
        {"stage_id": stage, "jobs": None},
        {"stage_id": stage, "jobs": [5]},
        {"stage_id": stage, "jobs": [{"job_class": "Nap", "status": "QUEUED"}]},
        {"stage_id": pipeline, "stages": []},
        {"stage_id": None, "jobs": []},
    ]

    for tree in good:
        assert (refused_tree(database, tree), complaints(SUBMISSION, tree)) == (None, [])
    for tree in bad:
        if "stages" in tree or "jobs" in tree or "pipeline" in tree:
            assert refused_tree(database, tree) is not None, tree
        assert not SUBMISSION.is_valid(tree), tree


def test_the_contract_has_the_fields_of_pipelines_and_stages_and_no_others(database: psycopg.Connection) -> None:
    job = {"parameters": {"a": 1}, "queue": "q2", "priority": 1, "description": "d", "owner": "o", "timeout": 1}
    job |= {"max_attempts": 2, "concurrency_key": "c", "correlation_id": "r", "traceparent": "t", "locked": True}
    job |= {"idempotency_key": "i", "expiration_date": LATER, "trigger_after_date": LATER, "user_metadata": {}}
    stage = {
        "name": "s", "job_class": "Nap", "data": {"a": 1}, "user_metadata": {"b": 1}, "hold": True, "open": True,
        "on_failure": "continue", "allowed_failures": 0.5, "max_attempts": 2, "jobs": [job],
        "idempotency_key": "i",
    }  # fmt: skip
    pipeline = {
        "name": "p", "tenant": "acme", "queue": "q", "priority": "HIGH", "owner": "o", "description": "d",
        "correlation_id": "c", "traceparent": "t", "data": {"a": 1}, "user_metadata": {"b": 1}, "status": "PENDING",
        "open": True, "idempotency_key": "i", "stages": [stage],
    }  # fmt: skip

    assert sorted(pipeline) == fields_of("PipelineFields")
    assert sorted(stage) == fields_of("StageSubmission")
    assert sorted([*job, "job_class", "tenant", "status"]) == fields_of("StageJob")
    assert refused_tree(database, {"pipeline": pipeline}) is None
    assert complaints(SUBMISSION, {"pipeline": pipeline}) == []
    dates = dict.fromkeys(("expiration_date", "trigger_after_date"))
    written = Pipeline(**pipeline | {"stages": [Stage(**stage | {"jobs": [job | dates]})]}).to_submission()
    assert written.keys() == pipeline.keys()
    assert written["stages"][0].keys() == stage.keys()
