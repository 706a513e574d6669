"""What a daemon at work says and hears, recorded at the broker: all of it is as the written contract says."""

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, NamedTuple
from uuid import uuid4

import aiormq
import pytest
from aiormq import spec
from contracts import complaints, document, validator
from daemons import Books, Daemons, until

from jobservice import JobInfo, JobInfoService, JobStatus
from jobservice.broker.names import BrokerNames
from jobservice.broker.topology import declare
from jobservice.sdk.registry import Registry

ASYNCAPI = document("asyncapi.json")
WRITTEN = {
    "events": validator("event-message", strict=True),
    "pipelines": validator("pipeline-event-message", strict=True),
    "replies": validator("reply", strict=True),
    "submissions": validator("submission"),
    "commands": validator("command"),
}
"""Channel of the document → what its messages must be."""


class Message(NamedTuple):
    key: str
    content_type: str | None
    message_id: str | None
    content: Any


@dataclass
class Tape:
    """Everything that goes over the exchanges of the AsyncAPI document, and the answers to what it asks itself."""

    prefix: str
    heard: dict[str, list[Message]] = field(default_factory=lambda: {channel: [] for channel in WRITTEN})
    connection: aiormq.abc.AbstractConnection | None = None
    channel: aiormq.abc.AbstractChannel | None = None
    replies: str = ""
    answers: dict[str, Any] = field(default_factory=dict)

    async def open(self, url: str) -> None:
        self.connection = await aiormq.connect(url)
        self.channel = await self.connection.channel()
        # What is sent before a daemon is ready waits for it.
        await declare(self.channel, BrokerNames(prefix=self.prefix))
        for name in ("submissions", "commands", "events", "pipelines"):
            exchange = self.exchange(name)
            # Were it there with another type, the broker would close the channel.
            await self.channel.exchange_declare(exchange["name"], exchange_type=exchange["type"], durable=True)
            queue = await self._own_queue(self._recorder(name))
            await self.channel.queue_bind(queue, exchange["name"], "#")
        self.replies = await self._own_queue(self._take_answer)

    def exchange(self, name: str) -> dict[str, Any]:
        """As the document has it, under this installation's prefix."""
        exchange: dict[str, Any] = ASYNCAPI["channels"][name]["bindings"]["amqp"]["exchange"]
        return exchange | {"name": self.prefix + exchange["name"].removeprefix("jobservice")}

    async def _own_queue(self, keep: Callable[[Any], Any]) -> str:
        assert self.channel is not None
        queue = (await self.channel.queue_declare(exclusive=True)).queue
        assert queue is not None
        await self.channel.basic_consume(queue, keep, no_ack=True)
        return queue

    def _recorder(self, name: str) -> Callable[[Any], Any]:
        async def keep(message: Any) -> None:
            properties = message.header.properties
            content = json.loads(message.body)
            key = message.delivery.routing_key
            self.heard[name].append(Message(key, properties.content_type, properties.message_id, content))

        return keep

    async def _take_answer(self, message: Any) -> None:
        content, properties = json.loads(message.body), message.header.properties
        self.heard["replies"].append(Message("", properties.content_type, None, content))
        self.answers[properties.correlation_id] = content

    async def ask(self, name: str, key: str, content: Any) -> Any:
        """Sends a message over a channel of the document; its answer."""
        assert self.channel is not None
        asked = str(uuid4())
        properties = spec.Basic.Properties(reply_to=self.replies, correlation_id=asked, message_id=asked)
        body = content if isinstance(content, bytes) else json.dumps(content).encode()
        await self.channel.basic_publish(
            body, exchange=self.exchange(name)["name"], routing_key=key, properties=properties, mandatory=True
        )

        async def answered() -> bool:
            return asked in self.answers

        await until(answered, f"an answer to {content!r:.200}")
        return self.answers[asked]

    def complaints(self) -> list[str]:
        """What the contract has against anything that was heard."""
        return [
            f"{name} {message.content}: {against}"
            for name, messages in self.heard.items()
            for message in messages
            if (against := complaints(WRITTEN[name], message.content))
        ]


@pytest.fixture
async def tape(amqp_url: str, broker_prefix: str) -> AsyncIterator[Tape]:
    tape = Tape(broker_prefix)
    await tape.open(amqp_url)
    yield tape
    assert tape.connection is not None
    await tape.connection.close()


async def test_every_event_of_every_way_through_the_statuses_is_as_it_is_written(
    daemons: Daemons, books: Books, tape: Tape, tmp_path: Path
) -> None:
    first = await daemons.start(registry=Registry.load(["trial_jobs", "attempt_jobs"]), events={"submissions": True})
    at_once = {"tenant": "acme", "priority": "HIGH", "owner": "ö", "description": "d\n", "correlation_id": "c",
               "traceparent": "00-1-2-01"}  # fmt: skip
    soon = (datetime.now(UTC) + timedelta(seconds=0.5)).isoformat()
    jobs: dict[str, tuple[dict[str, Any], str]] = {
        "succeeds": ({"job_class": "Echo", "parameters": {"value": {"a": [None, 1.5, "ü"]}}} | at_once, "SUCCEEDED"),
        "is too long to tell": ({"job_class": "Echo", "parameters": {"value": "x" * 20_000}}, "SUCCEEDED"),
        "has no result": ({"job_class": "NoOp", "trigger_after_date": soon}, "SUCCEEDED"),
        "fails": ({"job_class": "Raises"}, "FAILED"),
        "is of no class": ({"job_class": "Nowhere"}, "FAILED"),
        "lacks a parameter": ({"job_class": "Blocks"}, "FAILED"),
        "comes again": ({"job_class": "SucceedsAtLast", "parameters": {"good": 2}}, "SUCCEEDED"),
        "comes again in vain": ({"job_class": "Raises", "max_attempts": 2}, "FAILED"),
        "takes too long": ({"job_class": "Forever", "timeout": 0.2}, "FAILED"),
        "aborts itself": ({"job_class": "Aborts"}, "ABORTED"),
        "is stopped": ({"job_class": "Forever"}, "RUNNING"),
        "is stopped before": ({"job_class": "NoOp", "status": "PENDING"}, "PENDING"),
        "expires": ({"job_class": "NoOp", "status": "PENDING", "expiration_date": "2100-01-01T00:00:00Z"}, "PENDING"),
        "is handed back": ({"job_class": "Waits", "parameters": {"file": str(tmp_path / "go"), "total": 4, "done": 1}},
                           "RUNNING"),
    }  # fmt: skip
    ids = dict(zip(jobs, await books.submit_many([job for job, _ in jobs.values()]), strict=True))
    for name, (_, status) in jobs.items():
        await books.is_in(ids[name], status)

    await books.stop(ids["is stopped"], ids["is stopped before"])
    await books.connection.execute(
        "UPDATE jobservice.job_info SET expiration_date = clock_timestamp() WHERE id = $1", ids["expires"]
    )
    await books.is_in(ids["expires"], "FAILED")
    await tape.ask("commands", "default", {"command": "restart", "job_id": str(ids["fails"])})
    await first.leave(at_once=True)
    await daemons.start(registry=Registry.load(["trial_jobs", "attempt_jobs"]), events={"submissions": True})
    (tmp_path / "go").touch()
    await books.all_final()
    await books.all_published()

    events = tape.heard["events"]
    await until(lambda: all_heard(books, events), "all events")
    assert tape.complaints() == []
    changes = {(each.content["data"]["previous_status"], each.content["data"]["status"]) for each in events}
    assert changes >= {
        (None, "QUEUED"), (None, "PENDING"), ("PENDING", "QUEUED"), ("QUEUED", "TO_BE_RUN"), ("TO_BE_RUN", "RUNNING"),
        ("TO_BE_RUN", "FAILED"), ("RUNNING", "SUCCEEDED"), ("RUNNING", "FAILED"), ("RUNNING", "ABORTED"),
        ("RUNNING", "PENDING"), ("RUNNING", "QUEUED"), ("PENDING", "ABORTED"), ("PENDING", "FAILED"),
        ("FAILED", "QUEUED"),
    }  # fmt: skip
    for key, content_type, message_id, event in events:
        data = event["data"]
        assert key == ".".join(data[word] for word in ("tenant", "queue", "job_class", "status"))
        assert content_type == "application/cloudevents+json"
        assert message_id == event["id"] == f"{data['job_id']}:{data['sequence']}"
        assert (event["type"], event["subject"]) == (f"jobservice.job.{data['status'].lower()}", data["job_id"])
    told = [each.content["data"] for each in events]
    assert any(data["will_retry"] for data in told)
    assert any(data["result_omitted"] for data in told)
    assert any("traceparent" in each.content for each in events)


async def all_heard(books: Books, events: list[Message]) -> bool:
    rows = await books.connection.fetch("SELECT id::text, sequence FROM jobservice.job_info")
    wanted = {f"{row['id']}:{number}" for row in rows for number in range(1, row["sequence"] + 1)}
    return wanted <= {each.content["id"] for each in events}


async def test_every_event_of_pipelines_and_stages_is_as_it_is_written(
    daemons: Daemons, books: Books, tape: Tape, tmp_path: Path
) -> None:
    await daemons.start()
    no_op, forever = {"job_class": "NoOp", "parameters": {}}, {"job_class": "Forever", "parameters": {}}
    lacks = {"job_class": "Lacks", "parameters": {"file": str(tmp_path / "go")}, "max_attempts": 1}
    pipelines: dict[str, tuple[dict[str, Any], str]] = {
        "succeeds": ({"owner": "ö", "description": "d\n", "correlation_id": "c", "traceparent": "00-1-2-01",
                      "stages": [{"name": "a", "job_class": "NoOp", "jobs": [{}, {}]}, {}]}, "SUCCEEDED"),
        "fails": ({"stages": [{"jobs": [no_op, lacks]}, {"jobs": [no_op]}]}, "FAILED"),
        "goes-on": ({"stages": [{"on_failure": "continue", "jobs": [no_op, lacks]}]}, "SUCCEEDED"),
        "is-stopped": ({"stages": [{"jobs": [forever, no_op]}, {"jobs": [no_op]}]}, "RUNNING"),
        "never-starts": ({"status": "PENDING", "stages": [{"jobs": [no_op]}]}, "PENDING"),
    }  # fmt: skip
    ids = {name: await books.value("SELECT pipeline_id FROM jobservice.submit_pipeline($1::text::jsonb)",
                                   json.dumps({"name": name} | fields))
           for name, (fields, _) in pipelines.items()}  # fmt: skip
    for name, (_, status) in pipelines.items():
        await pipeline_is_in(books, ids[name], status)

    (tmp_path / "go").touch()
    for verb, name in (("stop", "is-stopped"), ("stop", "never-starts"), ("restart", "fails")):
        await books.value("SELECT code FROM jobservice.command_pipelines(ARRAY[$1::uuid], $2)", ids[name], verb)
    for name, status in (("is-stopped", "ABORTED"), ("never-starts", "ABORTED"), ("fails", "SUCCEEDED")):
        await pipeline_is_in(books, ids[name], status)

    events = tape.heard["pipelines"]
    await until(lambda: all_of_pipelines_heard(books, events), "all events")
    assert tape.complaints() == []
    told = [each.content["data"] for each in events]
    assert {(data["kind"], data["previous_status"], data["status"]) for data in told} >= {
        (kind, *change)
        for kind in ("pipeline", "stage")
        for change in (
            ("PENDING", "QUEUED"),
            ("QUEUED", "RUNNING"),
            ("RUNNING", "SUCCEEDED"),
            ("RUNNING", "FAILED"),
            ("RUNNING", "ABORTED"),
            ("PENDING", "ABORTED"),
        )
    } | {("pipeline", "FAILED", "QUEUED"), ("stage", "FAILED", "PENDING"), ("stage", "QUEUED", "SUCCEEDED")}
    for key, content_type, message_id, event in events:
        data = event["data"]
        assert key == ".".join(data[word] for word in ("tenant", "name", "kind", "status"))
        assert content_type == "application/cloudevents+json"
        assert message_id == event["id"] == f"{event['subject']}:{data['sequence']}"
        assert event["subject"] == data["stage_id" if data["kind"] == "stage" else "pipeline_id"]
    assert any("traceparent" in each.content for each in events)


async def pipeline_is_in(books: Books, pipeline_id: Any, status: str) -> None:
    async def look() -> bool:
        return bool(await books.value("SELECT status FROM jobservice.pipeline WHERE id = $1", pipeline_id) == status)

    await until(look, f"pipeline {pipeline_id} is {status}")


async def all_of_pipelines_heard(books: Books, events: list[Message]) -> bool:
    rows = await books.connection.fetch(
        "SELECT id::text, sequence FROM jobservice.pipeline UNION ALL SELECT id::text, sequence FROM jobservice.stage"
    )
    wanted = {f"{row['id']}:{number}" for row in rows for number in range(2, row["sequence"] + 1)}
    return wanted <= {each.content["id"] for each in events}


async def test_what_is_asked_by_message_is_taken_or_refused_as_it_is_written(daemons: Daemons, tape: Tape) -> None:
    await daemons.start()
    (held,) = (await tape.ask("submissions", "acme", {"job_class": "NoOp", "status": "PENDING"}))["job_ids"]
    taken: list[tuple[str, str, Any]] = [
        ("submissions", "acme", {"job_class": "NoOp", "tenant": "acme", "priority": "LOW", "parameters": {"n": 1}}),
        ("submissions", "acme", [{"job_class": "NoOp"}, {"job_class": "NoOp", "locked": None}]),
        ("submissions", "acme", []),
        ("commands", "acme", {"command": "update", "job_id": held, "priority": 7}),
        ("commands", "other", {"command": "enqueue", "job_ids": [held, str(uuid4())]}),
        ("commands", "acme", {"command": "restart", "job_id": held, "expiration_date": "2100-01-31T12:00:00Z"}),
        ("commands", "acme", {"command": "lock", "job_ids": []}),
        ("commands", "acme", {"command": "stop", "job_id": held, "reason": "not needed"}),
        ("commands", "acme", {"command": "rerun", "job_id": held}),
        ("commands", "acme", {"command": "stop", "owner": "nobody", "status": ["PENDING", "FAILED"]}),
        ("commands", "acme", {"command": "pause_tenant"}),
        ("commands", "_operator", {"command": "set_limit", "tenant": "acme", "weight": 2, "max_running": None}),
        ("commands", "_operator", {"command": "pause_queue", "queue": "spare"}),
        ("commands", "acme", {"command": "register_subscription", "name": "n", "filter": {"tenant": "acme"}}),
        ("commands", "acme", {"command": "add_schedule", "schedule": "s", "job": {"job_class": "NoOp"}, "every": 9999}),
        ("commands", "acme", {"command": "add_schedule", "schedule": "s", "job": {"job_class": "NoOp"}, "every": 9998}),
        ("commands", "acme", {"command": "run_schedule", "schedule": "s"}),
        ("commands", "other", {"command": "remove_schedule", "schedule": "s"}),
        ("commands", "_operator", {"command": "pause_schedule", "schedule": "s", "tenant": "acme"}),
    ]  # fmt: skip
    refused: list[tuple[str, str, Any]] = [
        ("submissions", "acme", {"job_class": "NoOp", "priorty": 1}),
        ("submissions", "acme", {"job_class": "No.Op"}),
        ("submissions", "acme", [{"job_class": "NoOp"}, {"parameters": {}}]),
        ("submissions", "acme", {"job_class": "NoOp", "expiration_date": "tomorrow"}),
        ("submissions", "acme", {"job_class": "NoOp", "status": "RUNNING"}),
        ("commands", "acme", {"command": "start", "job_id": held}),
        ("commands", "acme", {"command": "stop"}),
        ("commands", "acme", {"command": "stop", "job_id": held, "owner": "me"}),
        ("commands", "acme", {"command": "update", "job_id": held}),
        ("commands", "acme", {"command": "restart", "job_id": held, "reason": "again"}),
    ]
    refused_for_who_asks: list[tuple[str, str, Any]] = [
        ("submissions", "acme", {"job_class": "NoOp", "tenant": "other"}),
        ("submissions", "acme", {"job_class": "NoOp", "expiration_date": "2020-01-31T12:00:00Z"}),
        ("submissions", "acme", {"job_class": "NoOp", "parameters": {"n": "nul\x00"}}),
        ("commands", "acme", {"command": "pause_queue", "queue": "default"}),
        ("commands", "_operator", {"command": "pause_tenant"}),
    ]

    for asked, is_taken, is_written in [
        (taken, True, True),
        (refused, False, False),
        (refused_for_who_asks, False, True),
    ]:
        for channel, key, content in asked:
            answer = await tape.ask(channel, key, content)
            assert ("error" not in answer) is is_taken, (content, answer)
            assert WRITTEN[channel].is_valid(content) is is_written, (content, answer)

    assert [complaints(WRITTEN["replies"], reply.content) for reply in tape.heard["replies"] if reply.content] == [
        []
    ] * (1 + len(taken) + len(refused) + len(refused_for_who_asks))
    codes = {result["code"] for reply in tape.heard["replies"] for result in reply.content.get("results", ())}
    assert codes == {None, "unknown_job", "unknown_schedule", "not_legal"}


async def test_a_refused_message_is_kept_with_the_headers_that_are_written(daemons: Daemons, tape: Tape) -> None:
    await daemons.start()
    assert tape.channel is not None
    queue = tape.prefix + ASYNCAPI["channels"]["rejected"]["address"].removeprefix("jobservice")
    kept: asyncio.Queue[Any] = asyncio.Queue()

    await tape.ask("submissions", "acme", {"job_class": "No.Op"})

    await tape.channel.basic_consume(queue, kept.put, no_ack=True)
    async with asyncio.timeout(60):
        message = await kept.get()
    assert json.loads(message.body) == {"job_class": "No.Op"}
    assert complaints(validator("rejected-headers", strict=True), message.header.properties.headers) == []


async def test_the_python_client_says_what_is_written(
    daemons: Daemons, tape: Tape, amqp_url: str, broker_prefix: str, tmp_path: Path
) -> None:
    await daemons.start(run=False)
    later = datetime.now(UTC) + timedelta(days=1)
    full = JobInfo(
        "Waits", tenant="acme", parameters={"file": tmp_path / "never"}, priority="HIGH", description="d", owner="o",
        expiration_date=later, trigger_after_date=later, timeout=60.0, max_attempts=2, idempotency_key="i",
        concurrency_key="c", correlation_id="r", traceparent="t", user_metadata={"m": [1]}, locked=True,
        status=JobStatus.PENDING,
    )  # fmt: skip

    async with JobInfoService.connect(amqp_url=amqp_url, prefix=broker_prefix, tenant="acme") as jobs:
        held = (await jobs.create_as_pending(full)).id
        await jobs.create_many([JobInfo("NoOp", tenant="acme"), JobInfo("NoOp", tenant="acme", priority=-1)])
        await jobs.set_priority(held, "LOW")
        await jobs.update_expiration(later, held)
        await jobs.stop(held, reason="r")
        await jobs.restart(held)
        await jobs.stop(held)
        await jobs.restart(held, expiration_date=later)
        await jobs.stop(held)
        await jobs.rerun(held)
        await jobs.stop_selected(job_class="Waits", status={JobStatus.QUEUED})
        await jobs.pause_tenant("acme")
        await jobs.resume_tenant("acme")
        async with jobs.events(tenant="acme", statuses={JobStatus.FAILED}, durable="books"):
            pass

    async def all_heard() -> bool:
        said = {message.content["command"] for message in tape.heard["commands"]}
        return len(tape.heard["submissions"]) == 2 and "register_subscription" in said

    await until(all_heard, lambda: f"the last message, got {tape.heard}")
    assert tape.complaints() == []
    assert {message.key for name in ("submissions", "commands") for message in tape.heard[name]} == {"acme"}
