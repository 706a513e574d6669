"""The AsyncAPI document: which messages go over which exchange, as the daemon sees it. It refers to the schemas' files.

The names are those of the default `broker.prefix`.
"""

from typing import Any, Final

from jobservice.broker.class_messages import ALL_KEY
from jobservice.broker.frames import CLOUD_EVENT, JSON
from jobservice.broker.names import OPERATOR_KEY, BrokerNames
from jobservice.contract.schemas import file_of

FILE: Final = "asyncapi.json"
CONTRACT_VERSION: Final = "1.0.0"
"""Its first number is that of the schemas' addresses."""

_NAMES: Final = BrokerNames()
_BINDING: Final = "0.3.0"
_TENANT: Final = {"description": "The tenant; a `tenant` in the body must be the same."}


def document() -> dict[str, Any]:
    """The whole document."""
    return {
        "asyncapi": "3.0.0",
        "id": "urn:jobservice:asyncapi:1",
        "info": _info(),
        "defaultContentType": JSON,
        "servers": {
            "rabbitmq": {
                "host": "localhost:5672",
                "protocol": "amqp",
                "protocolVersion": "0.9.1",
                "description": "The RabbitMQ of the installation.",
            }
        },
        "channels": _channels(),
        "operations": _operations(),
        "components": {"messages": _messages()},
    }


def _info() -> dict[str, Any]:
    return {
        "title": "JobService",
        "version": CONTRACT_VERSION,
        "description": (
            "Jobs in, commands in, status changes out. Exchanges and queues are declared by the daemon: a client"
            " declares nothing but queues of its own for events and replies. Publish persistent, mandatory and with"
            " confirms. The first word of every name is `broker.prefix`, `jobservice` unless it is set."
        ),
        "license": {"name": "MIT"},
    }


def _channels() -> dict[str, Any]:
    return {
        "submissions": _exchange(
            _NAMES.submit,
            "{tenant}",
            ["Submission"],
            {"tenant": _TENANT},
            f"Jobs and pipelines to be stored; kept in the queue {_NAMES.submissions} until they are.",
        ),
        "commands": _exchange(
            _NAMES.command,
            "{sender}",
            ["Command"],
            {"sender": {"description": f"The tenant whose jobs are meant, or {OPERATOR_KEY}, who reaches all."}},
            "What to do with jobs, pipelines, schedules, tenants, queues, daemons;"
            f" kept in {_NAMES.control} until it is done.",
        ),
        "events": _exchange(
            _NAMES.events,
            "{tenant}.{queue}.{job_class}.{status}",
            ["Event"],
            {
                "tenant": {"description": "The job's tenant."},
                "queue": {"description": "The job's queue."},
                "job_class": {"description": "The name of the job's class."},
                "status": {"description": "The status that the job changed to."},
            },
            "Every status change. Bind a queue of your own: `acme.#`, `*.*.*.FAILED`.",
        ),
        "pipelines": _exchange(
            _NAMES.pipelines,
            "{tenant}.{name}.{kind}.{status}",
            ["PipelineEvent"],
            {
                "tenant": {"description": "The pipeline's tenant."},
                "name": {"description": "The pipeline's name."},
                "kind": {"description": "`pipeline` or `stage`: which of the two changed."},
                "status": {"description": "The status that it changed to."},
            },
            "Every status change of pipelines and of their stages. Bind a queue of your own: `acme.create-map.#`.",
        ),
        "classes": _exchange(
            _NAMES.pipelines,
            OPERATOR_KEY + ".{job_class}.class.{status}",
            ["ClassEvent"],
            {
                "job_class": {"description": f"The job class, or `{ALL_KEY}` for all."},
                "status": {"description": "`HELD` or `RELEASED`."},
            },
            f"Job classes that were held or released. Bind a queue of your own: `{OPERATOR_KEY}.#`.",
        ),
        "replies": {
            "address": None,
            "messages": _references(["Reply"]),
            "description": "The queue that the request names, or direct reply-to (amq.rabbitmq.reply-to).",
        },
        "rejected": {
            "address": _NAMES.rejected,
            "messages": _references(["Rejected"]),
            "description": "What could not be accepted, untouched, with the reason in its headers.",
            "bindings": {
                "amqp": {
                    "is": "queue",
                    "queue": {"name": _NAMES.rejected, "durable": True, "exclusive": False, "autoDelete": False},
                    "bindingVersion": _BINDING,
                }
            },
        },
    }


def _exchange(name: str, key: str, messages: list[str], parameters: dict[str, Any], text: str) -> dict[str, Any]:
    return {
        "title": name,
        "address": key,
        "messages": _references(messages),
        "description": text,
        "parameters": parameters,
        "bindings": {
            "amqp": {
                "is": "routingKey",
                "exchange": {"name": name, "type": "topic", "durable": True, "autoDelete": False},
                "bindingVersion": _BINDING,
            }
        },
    }


def _references(messages: list[str]) -> dict[str, Any]:
    return {name: {"$ref": f"#/components/messages/{name}"} for name in messages}


def _operations() -> dict[str, Any]:
    return {
        "submit": _asked(
            "submissions", "Submission", "Store jobs or a pipeline, all or nothing; answer after the commit."
        ),
        "control": _asked("commands", "Command", "Carry out a command, in one transaction; answer after the commit."),
        "tell": {
            "action": "send",
            "channel": {"$ref": "#/channels/events"},
            "messages": [{"$ref": "#/channels/events/messages/Event"}],
            "summary": "Tell of each status change, at least once, and in order for each job.",
            "bindings": {"amqp": {"deliveryMode": 2, "bindingVersion": _BINDING}},
        },
        "tellOfPipelines": {
            "action": "send",
            "channel": {"$ref": "#/channels/pipelines"},
            "messages": [{"$ref": "#/channels/pipelines/messages/PipelineEvent"}],
            "summary": "Tell of each status change, at least once, and in order for each pipeline and its stages.",
            "bindings": {"amqp": {"deliveryMode": 2, "bindingVersion": _BINDING}},
        },
        "tellOfClasses": {
            "action": "send",
            "channel": {"$ref": "#/channels/classes"},
            "messages": [{"$ref": "#/channels/classes/messages/ClassEvent"}],
            "summary": "Tell of each hold and release, at least once, and in order for each class.",
            "bindings": {"amqp": {"deliveryMode": 2, "bindingVersion": _BINDING}},
        },
        "reject": {
            "action": "send",
            "channel": {"$ref": "#/channels/rejected"},
            "messages": [{"$ref": "#/channels/rejected/messages/Rejected"}],
            "summary": "Keep what was refused, for people to look at.",
            "bindings": {"amqp": {"deliveryMode": 2, "bindingVersion": _BINDING}},
        },
    }


def _asked(channel: str, message: str, summary: str) -> dict[str, Any]:
    """A request, answered where it says so."""
    return {
        "action": "receive",
        "channel": {"$ref": f"#/channels/{channel}"},
        "messages": [{"$ref": f"#/channels/{channel}/messages/{message}"}],
        "summary": summary,
        "bindings": {
            "amqp": {
                "deliveryMode": 2,
                "mandatory": True,
                "bindingVersion": _BINDING,
            }
        },
        "reply": {
            "address": {
                "location": "$message.header#/reply_to",
                "description": "The property reply_to of the request; without it nothing is answered.",
            },
            "channel": {"$ref": "#/channels/replies"},
            "messages": [{"$ref": "#/channels/replies/messages/Reply"}],
        },
    }


def _messages() -> dict[str, Any]:
    correlated = {
        "correlationId": {
            "location": "$message.header#/correlation_id",
            "description": "The property correlation_id; the reply has that of its request.",
        }
    }
    once = "The property message_id makes it safe to send again: "
    return {
        "Submission": _message("submission", "One job, or an array of them; or a pipeline.")
        | correlated
        | {"description": once + "it serves as idempotency key where the body has none."},
        "Command": _message("command", "One command.")
        | correlated
        | {"description": once + "a rerun with the same one makes one job."},
        "Reply": _message("reply", "The answer to a submission or a command.") | correlated,
        "Event": _message("event-message", "One status change of one job, as a CloudEvent.", CLOUD_EVENT)
        | {"description": "The property message_id is the event's id."},
        "PipelineEvent": _message(
            "pipeline-event-message", "One change of a pipeline or of a stage, as a CloudEvent.", CLOUD_EVENT
        )
        | {"description": "The property message_id is the event's id."},
        "ClassEvent": _message("class-event-message", "A job class was held or released, as a CloudEvent.", CLOUD_EVENT)
        | {"description": "The property message_id is the event's id."},
        "Rejected": {
            "title": "Rejected",
            "summary": "A message that was refused; its body may be anything.",
            "headers": {"$ref": f"./{file_of('rejected-headers')}"},
        },
    }


def _message(schema: str, summary: str, content_type: str = JSON) -> dict[str, Any]:
    return {
        "title": schema.removesuffix("-message").capitalize(),
        "summary": summary,
        "contentType": content_type,
        "payload": {"$ref": f"./{file_of(schema)}"},
    }
