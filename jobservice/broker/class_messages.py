"""The event of a job class that was held or released: the one place that knows its shape on the wire."""

from typing import Final

import orjson

from jobservice.broker.cloud_event import EVENT_SOURCE, instant
from jobservice.broker.frames import CLOUD_EVENT, OutgoingMessage
from jobservice.broker.names import OPERATOR_KEY
from jobservice.domain.class_facts import CLASS_KIND, ClassFact

CLASS_DATA_SCHEMA: Final = "urn:jobservice:schema:class-event:1"
ALL_KEY: Final = "_all"
"""In the routing key for `*`, which a binding could not ask for."""


def class_event_message(fact: ClassFact) -> OutgoingMessage:
    """The event ready to publish."""
    event_id = f"{fact.job_class}:{fact.sequence}"
    event = {
        "specversion": "1.0",
        "id": event_id,
        "source": EVENT_SOURCE,
        "type": f"jobservice.{CLASS_KIND}.{fact.status.lower()}",
        "subject": fact.job_class,
        "time": instant(fact.time),
        "datacontenttype": "application/json",
        "dataschema": CLASS_DATA_SCHEMA,
        "data": {
            "kind": CLASS_KIND,
            "job_class": fact.job_class,
            "status": fact.status,
            "sequence": fact.sequence,
            "reason": fact.reason,
        },
    }
    word = ALL_KEY if fact.job_class == "*" else fact.job_class
    key = f"{OPERATOR_KEY}.{word}.{CLASS_KIND}.{fact.status}"
    return OutgoingMessage(key, event_id, orjson.dumps(event), CLOUD_EVENT)
