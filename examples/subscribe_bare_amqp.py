"""Follow the ends of a tenant's jobs with nothing but an AMQP client (pika). The queue outlives this program."""

import json
import os
from typing import Any

import pika

QUEUE = "jobservice.events.archive"
ARGUMENTS = {
    "x-queue-type": "quorum",
    "x-delivery-limit": 20,
    "x-dead-letter-exchange": "",
    "x-dead-letter-routing-key": "jobservice.rejected",
    "x-max-length": 1_000_000,
    "x-overflow": "drop-head",
}
seen: dict[str, int] = {}  # keep it in your database, and write it in the transaction that acts on the event


def on_event(channel: Any, method: Any, properties: Any, body: bytes) -> None:
    data = json.loads(body)["data"]
    if data["sequence"] > seen.get(data["job_id"], 0):
        seen[data["job_id"]] = data["sequence"]
        print(f"{data['job_id']} {data['sequence']} {data['status']}", flush=True)
    channel.basic_ack(method.delivery_tag)


if __name__ == "__main__":
    connection = pika.BlockingConnection(pika.URLParameters(os.environ["JOBSERVICE_AMQP_URL"]))
    channel = connection.channel()
    channel.queue_declare(QUEUE, durable=True, arguments=ARGUMENTS)
    for status in ("SUCCEEDED", "FAILED", "ABORTED"):
        channel.queue_bind(QUEUE, "jobservice.events", routing_key=f"acme.*.*.{status}")
    channel.basic_qos(prefetch_count=100)
    channel.basic_consume(QUEUE, on_event)
    print("subscribed", flush=True)
    channel.start_consuming()
