"""The schemas of submission and command against the doors that decide: what a schema takes the door takes, and what the
door refuses the schema does not take, but for what no schema can know."""

import json
import re
from collections.abc import Iterator
from itertools import dropwhile, takewhile
from typing import Any, get_args
from uuid import uuid4

import psycopg
import pytest
from aiormq import spec
from contracts import CONTRACT, complaints, document, validator
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from pydantic import BaseModel

from jobservice import Pipeline, Stage
from jobservice.broker.incoming import Incoming
from jobservice.client.pipelines import Pipelines
from jobservice.control.wire import AnyCommand, read_command
from jobservice.domain.errors import InvalidSubmission
from jobservice.sdk.job_info import JobInfo
from jobservice.sdk.json_values import PARAMETERS_DEPTH_MAX, NotJson, to_plain
from jobservice.submission.reading import read
from jobservice.submission.trees import Tree

SUBMISSION, COMMAND = validator("submission"), validator("command")
FIELDS = sorted(document("submission.schema.json")["definitions"]["Submission"]["properties"])
LATER = "2100-01-31T12:00:00Z"

texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
EDGES: list[Any] = [
    "", "a\n", "A-1_b", "x" * 64, "x" * 65, "x" * 255, "x" * 256, "x" * 512, "x" * 513, "é" * 10_000, "é" * 10_001,
    "a.b", "_a", "nul\x00", "HIGH", "high", "PENDING", "RUNNING", "SUCCEEDED", str(uuid4()), "x-y-z", LATER,
    "2100-01-31T12:00:00", "2100-02-30T12:00:00Z", "2100-01-31T25:00:00+01:00", "tomorrow",
    0, 1, -1, 2**31 - 1, 2**31, -(2**31), -(2**31) - 1, 10**6, 10**6 + 1, 10**9, 0.5, 1e-9, 999_999_999.5, 1e9, 1e6,
]  # fmt: skip
"""Values at the edge of some rule."""
values = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**40), 2**40) | st.floats(-1e12, 1e12) | texts | st.sampled_from(EDGES),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3),
    max_leaves=4,
)
several_calls = settings(
    max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture], derandomize=True
)


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


def fields_of(name: str) -> list[str]:
    return sorted(document("submission.schema.json")["definitions"][name]["properties"])


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


# --------------------------------------------------------------------------------------------------------- commands


MODELS: tuple[type[BaseModel], ...] = get_args(AnyCommand)
WORDS = sorted(word for model in MODELS for word in get_args(model.model_fields["command"].annotation))
MEMBERS = sorted({name for model in MODELS for name in model.model_fields if name != "command"})
ID = str(uuid4())


def refused_by_control(command: Any) -> str | None:
    """Why a command would be refused as a message; None: it would be carried out for somebody."""
    try:
        read_command(json.dumps(command).encode())
    except InvalidSubmission as error:
        return str(error)
    return None


fitting: dict[str, st.SearchStrategy[Any]] = {
    "job_id": st.just(ID),
    "job_ids": st.lists(st.just(ID), max_size=3),
    "job_class": st.just("Nap"),
    "status": st.sampled_from(["PENDING", "SUCCEEDED"])
    | st.lists(st.sampled_from(["RUNNING", "FAILED", "QUEUED"]), max_size=2),
    "expiration_date": st.just(LATER),
    "priority": st.integers(-(2**33), 2**33) | st.sampled_from(["LOW", "low"]),
    "tenant": st.just("acme"),
    "queue": st.just("default"),
    "max_running": st.integers(-1, 2**32),
    "weight": st.floats(-1, 2e6),
    "daemon_id": st.just(ID),
    "pipeline_id": st.just(ID),
    "pipeline_ids": st.lists(st.just(ID), max_size=3),
    "stage_id": st.just(ID),
    "stage_ids": st.lists(st.just(ID), max_size=3),
    "schedule": st.just("nightly"),
    "job": st.just({"job_class": "Nap"}),
    "pipeline": st.just({"name": "p", "stages": []}),
    "cron": st.just("0 4 * * *"),
    "every": st.integers(-1, 2**26),
    "user_metadata": st.dictionaries(st.sampled_from("ab"), st.integers(), max_size=2),
    "filter": st.dictionaries(st.sampled_from(["tenant", "queue", "job_class"]), st.just("a"), max_size=2)
    | st.just({"statuses": ["FAILED"]}),
}
members = st.sampled_from(MEMBERS).flatmap(
    lambda name: st.tuples(st.just(name), st.none() | fitting.get(name, texts) | fitting.get(name, texts) | values)
)
commands = st.builds(
    lambda word, given: {"command": word} | dict(given), st.sampled_from(WORDS), st.lists(members, max_size=4)
)


def is_whole(value: Any) -> bool:
    """5.0: a whole number for every schema, but not for the door."""
    inner = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    return (isinstance(value, float) and value.is_integer()) or any(is_whole(each) for each in inner)


@several_calls
@given(command=commands.filter(lambda command: not is_whole(command)))
@example(command={"command": "stop"})
@example(command={"command": "stop", "job_id": ID, "owner": "me"})
@example(command={"command": "stop", "job_id": None, "owner": "me"})
@example(command={"command": "stop", "status": "FAILED"})
@example(command={"command": "stop", "status": []})
@example(command={"command": "stop", "status": ["FAILED", "QUEUED"]})
@example(command={"command": "lock", "job_id": ID, "job_ids": [ID]})
@example(command={"command": "lock", "job_ids": []})
@example(command={"command": "lock", "job_ids": [ID] * 10_001})
@example(command={"command": "update", "job_id": ID, "priority": None})
@example(command={"command": "update", "job_id": ID, "priority": "HIGH"})
@example(command={"command": "set_limit", "queue": "q", "weight": None})
@example(command={"command": "hold_class", "job_class": "*", "reason": None})
@example(command={"command": "hold_class", "job_class": "**"})
@example(command={"command": "release_class", "job_class": "Nap", "reason": "r"})
@example(command={"command": "set_limit", "queue": "q", "max_running": None})
@example(command={"command": "set_limit", "tenant": "t", "queue": None, "weight": 2})
@example(command={"command": "set_limit", "tenant": "t"})
@example(command={"command": "set_limit", "queue": "q", "rate": "100/min", "burst": 5, "events": "final"})
@example(command={"command": "set_limit", "queue": "q", "rate": None, "events": None})
@example(command={"command": "set_limit", "queue": "q", "rate": "100/min\n"})
@example(command={"command": "set_limit", "queue": "q", "rate": "5/h", "burst": 500})
@example(command={"command": "set_limit", "queue": "q", "burst": 5, "events": "all"})
@example(command={"command": "set_limit", "queue": "q", "rate": None, "burst": 5})
@example(command={"command": "set_limit", "queue": "q", "tenant": "t", "rate": "1/s"})
@example(command={"command": "set_limit", "queue": "q", "tenant": "t", "events": "all"})
@example(command={"command": "set_limit", "queue": "q", "tenant": None, "events": "some"})
@example(command={"command": "set_limit", "queue": "q", "aging": 600})
@example(command={"command": "set_limit", "queue": "q", "aging": 0.5})
@example(command={"command": "set_limit", "queue": "q", "aging": None})
@example(command={"command": "set_limit", "queue": "q", "tenant": "t", "aging": 600})
@example(command={"command": "set_limit", "tenant": "t", "concurrency_key": "k", "max_running": 2, "aging": 60})
@example(command={"command": "set_limit", "tenant": "t", "concurrency_key": "k", "max_running": None})
@example(command={"command": "set_limit", "tenant": "t", "concurrency_key": "k", "weight": 2})
@example(command={"command": "set_limit", "tenant": "t", "concurrency_key": "k", "max_running": 2, "rate": None})
@example(command={"command": "set_limit", "tenant": "t", "queue": "q", "concurrency_key": "k", "max_running": 2})
@example(command={"command": "set_limit", "queue": "q", "concurrency_key": "k", "max_running": 2})
@example(command={"command": "set_limit", "tenant": "t", "concurrency_key": "", "max_running": 2})
@example(command={"command": "start_pipeline"})
@example(command={"command": "start_pipeline", "pipeline_id": ID})
@example(command={"command": "start_pipeline", "pipeline_id": ID, "pipeline_ids": [ID]})
@example(command={"command": "delete_pipeline", "pipeline_ids": [ID] * 1_001})
@example(command={"command": "stop_pipeline", "pipeline_ids": [], "pipeline_id": None, "reason": None})
@example(command={"command": "pause_pipeline", "pipeline_id": ID, "reason": "r"})
@example(command={"command": "set_pipeline_priority", "pipeline_id": ID})
@example(command={"command": "set_pipeline_priority", "pipeline_id": ID, "priority": "HIGH"})
@example(command={"command": "update_pipeline_metadata", "pipeline_id": ID, "user_metadata": None})
@example(command={"command": "update_pipeline_metadata", "pipeline_id": ID, "user_metadata": {"a": None}})
@example(command={"command": "release_stage", "stage_id": ID})
@example(command={"command": "release_stage", "pipeline_id": ID})
@example(command={"command": "update_stage_metadata", "stage_ids": [ID], "user_metadata": {"n": 2**70}})
@example(command={"command": "register_subscription", "name": "n", "filter": {"statuses": ["FAILED"]}})
@example(command={"command": "register_subscription", "name": "n", "filter": {"statuses": ["failed"]}})
@example(command={"command": "register_subscription", "name": "n", "filter": {"owner": "me"}})
@example(command={"command": "register_subscription", "name": "pipelines.n", "filter": {"name": "m", "kind": "stage"}})
@example(command={"command": "register_subscription", "name": "pipelines.n", "filter": {"kind": "job"}})
@example(command={"command": "register_subscription", "name": "events.n"})
@example(command={"command": "add_schedule", "schedule": "s", "job": {"job_class": "C"}, "cron": "* * * * *"})
@example(command={"command": "add_schedule", "schedule": "s", "job": {}, "cron": "* * * * *", "every": 5})
@example(command={"command": "add_schedule", "schedule": "s", "job": {}, "pipeline": {}, "every": 5})
@example(command={"command": "add_schedule", "schedule": "s", "job": None, "pipeline": {}, "every": 5, "cron": None})
@example(command={"command": "add_schedule", "schedule": "s", "pipeline": {}, "every": 0})
@example(command={"command": "add_schedule", "schedule": "s", "job": {}, "every": 1, "catch_up": "none"})
@example(command={"command": "add_schedule", "schedule": "s", "job": {}, "every": 1, "overlap": "queue"})
@example(command={"command": "add_schedule", "schedule": "s", "job": {}, "every": 1, "catch_up_within": -1})
@example(command={"command": "run_schedule", "schedule": "s"})
@example(command={"command": "pause_schedule", "schedule": "s.t"})
@example(command={"command": "remove_schedule", "schedule": "s", "replace": True})
def test_schema_and_door_agree_about_any_command(command: Any) -> None:
    refused = refused_by_control(command)

    if refused is None:
        assert complaints(COMMAND, command) == []
    elif not refused.startswith("user_metadata."):  # what no schema can know: NUL inside a document
        assert not COMMAND.is_valid(command), refused


@pytest.mark.parametrize("command", [{}, [], "stop", None, {"command": "start"}, {"command": None}, {"job_id": ID}])
def test_what_is_no_command_is_refused_by_both(command: Any) -> None:
    assert refused_by_control(command) is not None
    assert not COMMAND.is_valid(command)


# ------------------------------------------------------------------------------------------------------- in words

DOCS = CONTRACT.parent


def first_cells(document: str, heading: str) -> list[str]:
    """What stands in backticks in the first column of the table below a heading, or below such a first cell."""
    lines = (DOCS / document).read_text().splitlines()
    start = next(n for n, line in enumerate(lines) if line.startswith(heading))
    rows = takewhile(lambda line: line.startswith("|"), dropwhile(lambda line: not line.startswith("|"), lines[start:]))
    return sorted(word for row in rows for word in re.findall(r"`(\w+)", row.split(" | ")[0]))


def test_each_command_stands_in_a_table_of_the_documents() -> None:
    tables = ("## On jobs", "## On pipelines and stages", "## On schedules", "## On tenants, queues and daemons")

    assert sorted(word for table in tables for word in first_cells("commands.md", table)) == WORDS


@pytest.mark.parametrize(
    ("document", "heading", "model"),
    [
        ("submission.md", "| field |", "Submission"),
        ("pipelines.md", "| pipeline |", "PipelineFields"),
        ("pipelines.md", "| stage |", "StageSubmission"),
    ],
)
def test_each_field_stands_in_a_table_of_the_documents(document: str, heading: str, model: str) -> None:
    assert first_cells(document, heading) == fields_of(model)


def test_each_method_of_the_pipelines_of_a_client_stands_in_a_table_of_the_documents() -> None:
    public = sorted(name for name in vars(Pipelines) if not name.startswith("_"))

    assert first_cells("pipelines.md", "## From Python") == public
