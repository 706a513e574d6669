"""The schema of commands against the door that decides: what the schema takes the door takes, and what the door refuses
the schema does not take, but for what no schema can know."""

import json
from typing import Any, get_args
from uuid import uuid4

import pytest
from contracts import command_words, complaints, validator
from edges import LATER, several_calls, texts, values
from hypothesis import example, given
from hypothesis import strategies as st
from pydantic import BaseModel

from jobservice.control.wire import AnyCommand, read_command
from jobservice.domain.errors import InvalidSubmission

COMMAND = validator("command")
MODELS: tuple[type[BaseModel], ...] = get_args(AnyCommand)
WORDS = command_words()
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
