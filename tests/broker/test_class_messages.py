"""The event of a held job class is the contract's, member by member."""

import json
from datetime import UTC, datetime

import pytest
from contracts import document
from jsonschema import Draft7Validator

from jobservice.broker.class_messages import CLASS_DATA_SCHEMA, class_event_message
from jobservice.domain.class_facts import ClassFact


@pytest.mark.parametrize(("job_class", "word"), [("Nap", "Nap"), ("*", "_all")])
def test_the_event_of_a_hold_has_these_members(job_class: str, word: str) -> None:
    time = datetime(2026, 1, 31, 12, tzinfo=UTC)
    message = class_event_message(ClassFact(job_class=job_class, status="HELD", reason='ö"', time=time, sequence=7))

    event = json.loads(message.body)

    assert (message.routing_key, message.message_id) == (f"_operator.{word}.class.HELD", f"{job_class}:7")
    assert event == {
        "specversion": "1.0",
        "id": f"{job_class}:7",
        "source": "/jobservice",
        "type": "jobservice.class.held",
        "subject": job_class,
        "time": "2026-01-31T12:00:00.000000Z",
        "datacontenttype": "application/json",
        "dataschema": CLASS_DATA_SCHEMA,
        "data": {"kind": "class", "job_class": job_class, "status": "HELD", "sequence": 7, "reason": 'ö"'},
    }
    assert Draft7Validator(document("class-event-message.schema.json")).is_valid(event)
