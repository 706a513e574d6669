"""Submit a job with nothing but an AMQP client (pika). Any language can do these steps."""

import json
import os
import sys
import uuid
from typing import Any

import pika


def ask(amqp_url: str, exchange: str, tenant: str, body: dict[str, Any]) -> dict[str, Any]:
    """Send one message and give its answer. The routing key is the tenant."""
    connection = pika.BlockingConnection(pika.URLParameters(amqp_url))
    channel = connection.channel()
    channel.confirm_delivery()  # publishing then returns when the broker has stored the message, or raises
    answers: list[bytes] = []
    channel.basic_consume("amq.rabbitmq.reply-to", lambda *answer: answers.append(answer[3]), auto_ack=True)
    channel.basic_publish(
        exchange,
        tenant,
        json.dumps(body).encode(),
        pika.BasicProperties(
            content_type="application/json",
            delivery_mode=pika.DeliveryMode.Persistent,
            message_id=str(uuid.uuid4()),  # sent again with the same id, it still makes one job
            correlation_id="1",
            reply_to="amq.rabbitmq.reply-to",
        ),
        mandatory=True,
    )
    connection.process_data_events(time_limit=30)  # until the answer is there
    connection.close()
    answer: dict[str, Any] = json.loads(answers[0])
    return answer


if __name__ == "__main__":
    url = os.environ["JOBSERVICE_AMQP_URL"]
    job = {"job_class": "ChecksumTree", "parameters": {"root": sys.argv[1]}, "priority": "HIGH"}
    print(json.dumps(ask(url, "jobservice.submit", "acme", job)))
