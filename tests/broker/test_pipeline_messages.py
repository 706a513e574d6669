"""The event of a pipeline or stage is the contract's, member by member; a subscriber reads it back."""

import json
from dataclasses import asdict, replace
from datetime import UTC, datetime
from uuid import UUID

import pytest

from jobservice.broker.pipeline_messages import PIPELINE_DATA_SCHEMA, PipelineEvent, pipeline_event_message
from jobservice.domain.pipeline_facts import PipelineFact, StageTold
from jobservice.domain.pipelines import PipelineStatus

PIPELINE, STAGE = UUID(int=7), UUID(int=9)
OF_STAGE = StageTold(
    stage_id=STAGE,
    stage_name="upload",
    position=2,
    job_class=None,
    total=9,
    succeeded=4,
    failed=1,
    aborted=0,
    retried=3,
)
FACT = PipelineFact(
    pipeline_id=PIPELINE,
    stage=OF_STAGE,
    tenant="acme",
    name="create-map",
    status=PipelineStatus.RUNNING,
    previous_status=PipelineStatus.QUEUED,
    sequence=3,
    time=datetime(2026, 1, 31, 12, tzinfo=UTC),
    percent_completed=44,
    reason=None,
    owner='ö"\n',
    description=None,
    correlation_id="c",
    traceparent=None,
)


def test_the_event_of_a_stage_has_these_members_in_this_order() -> None:
    message = pipeline_event_message(FACT)

    example = {
        "specversion": "1.0",
        "id": f"{STAGE}:3",
        "source": "/jobservice",
        "type": "jobservice.stage.running",
        "subject": str(STAGE),
        "time": "2026-01-31T12:00:00.000000Z",
        "datacontenttype": "application/json",
        "dataschema": PIPELINE_DATA_SCHEMA,
        "data": {
            "kind": "stage",
            "pipeline_id": str(PIPELINE),
            "stage_id": str(STAGE),
            "tenant": "acme",
            "name": "create-map",
            "stage_name": "upload",
            "position": 2,
            "job_class": None,
            "status": "RUNNING",
            "previous_status": "QUEUED",
            "final": False,
            "sequence": 3,
            "percent_completed": 44,
            "reason": None,
            "owner": 'ö"\n',
            "description": None,
            "correlation_id": "c",
            "total": 9,
            "succeeded": 4,
            "failed": 1,
            "aborted": 0,
            "retried": 3,
        },
    }
    assert json.dumps(json.loads(message.body)) == json.dumps(example)
    assert (message.routing_key, message.message_id) == ("acme.create-map.stage.RUNNING", f"{STAGE}:3")
    assert message.content_type == "application/cloudevents+json"


def test_the_event_of_a_pipeline_is_about_it_and_has_nothing_of_a_stage() -> None:
    ended = replace(FACT, stage=None, status=PipelineStatus.FAILED, reason="r", traceparent="00-1-2-01")

    message = pipeline_event_message(ended)

    event = json.loads(message.body)
    assert (event["id"], event["subject"], event["type"]) == (
        f"{PIPELINE}:3",
        str(PIPELINE),
        "jobservice.pipeline.failed",
    )
    assert (event["traceparent"], message.routing_key) == ("00-1-2-01", "acme.create-map.pipeline.FAILED")
    assert event["data"]["final"] is True
    assert {event["data"][member] for member in asdict(OF_STAGE)} == {None}


@pytest.mark.parametrize("stage", [OF_STAGE, None])
def test_a_subscriber_reads_back_what_was_told(stage: StageTold | None) -> None:
    fact = replace(FACT, stage=stage, traceparent="t")

    event = PipelineEvent.parse(pipeline_event_message(fact).body)

    assert (event.subject, event.kind, event.id) == (fact.subject, fact.kind, f"{fact.subject}:3")
    told = asdict(fact) | (asdict(stage) if stage else {})
    del told["stage"]
    assert {name: getattr(event, name) for name in told} == told


def test_members_of_later_versions_are_left_out() -> None:
    event = json.loads(pipeline_event_message(FACT).body)
    event["data"]["id"] = event["data"]["new"] = "of a later version"

    assert PipelineEvent.parse(json.dumps(event).encode()).id == f"{STAGE}:3"


@pytest.mark.parametrize(
    "body", [b"", b"[]", b"{}", b'{"data": {}}', b'{"id": "1", "time": "x", "data": {"job_id": "1"}}']
)
def test_what_is_none_is_refused(body: bytes) -> None:
    with pytest.raises(ValueError, match="not a pipeline event"):
        PipelineEvent.parse(body)
