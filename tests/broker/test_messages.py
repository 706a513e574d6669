"""The event is the contract's, member by member; a subscriber reads it back."""

import json
from datetime import UTC, datetime, timedelta, timezone
from typing import Any
from uuid import UUID

import pytest

from jobservice.broker.messages import DATA_SCHEMA, JobEvent, event_key, event_message
from jobservice.domain.facts import Fact, JobCard
from jobservice.domain.states import JobStatus

JOB, DAEMON = UUID(int=7), UUID(int=9)


def make_card(**changes: Any) -> JobCard:
    return JobCard(**{"job_id": JOB, "tenant": "acme", "queue": "default", "job_class": "ChecksumTree"} | changes)


def make_fact(**changes: Any) -> Fact:
    running = {
        "job_id": JOB,
        "sequence": 3,
        "run": 1,
        "attempt": 1,
        "status": JobStatus.RUNNING,
        "previous_status": JobStatus.TO_BE_RUN,
        "time": datetime(2026, 1, 31, 12, tzinfo=UTC),
        "priority": 50,
        "percent_completed": 0,
        "daemon_id": DAEMON,
    }
    return Fact(**running | changes)


def test_the_event_is_the_contracts_example_member_by_member() -> None:
    body = event_message(make_card(), make_fact()).body

    example = {
        "specversion": "1.0",
        "id": f"{JOB}:3",
        "source": "/jobservice",
        "type": "jobservice.job.running",
        "subject": str(JOB),
        "time": "2026-01-31T12:00:00.000000Z",
        "datacontenttype": "application/json",
        "dataschema": DATA_SCHEMA,
        "data": {
            "job_id": str(JOB),
            "tenant": "acme",
            "queue": "default",
            "job_class": "ChecksumTree",
            "status": "RUNNING",
            "previous_status": "TO_BE_RUN",
            "final": False,
            "sequence": 3,
            "run": 1,
            "attempt": 1,
            "daemon_id": str(DAEMON),
            "priority": 50,
            "owner": None,
            "description": None,
            "percent_completed": 0,
            "correlation_id": None,
            "will_retry": False,
            "error": None,
            "result": None,
            "result_omitted": False,
            "pipeline_id": None,
            "stage_id": None,
        },
    }
    assert json.dumps(json.loads(body)) == json.dumps(example)


def test_id_and_routing_key_come_from_card_and_fact() -> None:
    card, fact = make_card(), make_fact(status=JobStatus.TO_BE_RUN)

    message = event_message(card, fact)

    assert message.message_id == f"{JOB}:3"
    assert event_key(card, fact) == message.routing_key == "acme.default.ChecksumTree.TO_BE_RUN"
    assert message.content_type == "application/cloudevents+json"


@pytest.mark.parametrize("status", list(JobStatus))
def test_type_and_final_follow_the_status(status: JobStatus) -> None:
    event = json.loads(event_message(make_card(), make_fact(status=status, previous_status=None)).body)

    assert event["type"] == f"jobservice.job.{status.lower()}"
    assert event["data"]["final"] is (status in {"SUCCEEDED", "FAILED", "ABORTED"})
    assert event["data"]["previous_status"] is None


def test_a_result_is_passed_on_as_it_is_written() -> None:
    result = '{"big": 123456789012345678901234567890, "text": "\\u0000ü"}'

    body = event_message(make_card(), make_fact(status=JobStatus.SUCCEEDED), result=result).body

    assert f'"result":{result},'.encode() in body


def test_the_trace_goes_beside_the_data_as_an_extension() -> None:
    event = json.loads(event_message(make_card(traceparent="00-1-2-01"), make_fact()).body)

    assert event["traceparent"] == "00-1-2-01"
    assert list(event)[-1] == "data"


def test_times_are_utc_with_microseconds_whatever_their_zone() -> None:
    time = datetime(2026, 1, 31, 14, tzinfo=timezone(timedelta(hours=2)))

    event = json.loads(event_message(make_card(), make_fact(time=time)).body)

    assert event["time"] == "2026-01-31T12:00:00.000000Z"


def test_a_subscriber_reads_back_what_was_written() -> None:
    card = make_card(owner="o", description="d", correlation_id="c", pipeline_id=UUID(int=1), traceparent="t")
    error = {"type": "ValueError", "message": "no"}
    fact = make_fact(status=JobStatus.QUEUED, previous_status=JobStatus.RUNNING, will_retry=True, error=error)

    event = JobEvent.parse(event_message(card, fact, result='{"n": [1]}', result_omitted=True).body)

    assert event == JobEvent(
        id=f"{JOB}:3",
        time=fact.time,
        job_id=JOB,
        tenant="acme",
        queue="default",
        job_class="ChecksumTree",
        status=JobStatus.QUEUED,
        previous_status=JobStatus.RUNNING,
        final=False,
        sequence=3,
        run=1,
        attempt=1,
        daemon_id=DAEMON,
        priority=50,
        owner="o",
        description="d",
        percent_completed=0,
        correlation_id="c",
        will_retry=True,
        error=error,
        result={"n": [1]},
        result_omitted=True,
        pipeline_id=UUID(int=1),
        stage_id=None,
        traceparent="t",
    )


def test_members_of_a_later_version_are_left_out() -> None:
    event = json.loads(event_message(make_card(), make_fact()).body)
    event["data"] |= {"new": 1, "id": "x", "time": "y"}
    event["newextension"] = 2

    assert JobEvent.parse(json.dumps(event).encode()).job_id == JOB


@pytest.mark.parametrize("body", [b"", b"\xff", b"[]", b"{}", b'{"data": {}}', b'{"data": {"job_id": 1}}', b"null"])
def test_what_is_no_event_is_a_value_error(body: bytes) -> None:
    with pytest.raises(ValueError, match="not a job event"):
        JobEvent.parse(body)
