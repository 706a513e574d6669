"""Events of pipelines and stages: complete, in order, at least once, whoever is away or dies."""

import json
import signal
from collections import Counter, defaultdict
from collections.abc import AsyncIterator
from itertools import pairwise
from pathlib import Path
from typing import Any
from uuid import UUID

import aiormq
import asyncpg
import pytest
from daemons import Books, Daemons, Processes, until
from outages import Outage

NO_OP = {"job_class": "NoOp", "parameters": {}}


class Tape:
    """A foreign AMQP client: all events of pipelines in the order in which they came, repetitions and all."""

    def __init__(self, books: Books) -> None:
        self.books = books
        self.heard: list[dict[str, Any]] = []
        self.connection: aiormq.abc.AbstractConnection | None = None

    async def open(self, url: str, prefix: str) -> None:
        self.connection = await aiormq.connect(url)
        channel = await self.connection.channel()
        await channel.exchange_declare(f"{prefix}.pipelines", exchange_type="topic", durable=True)
        queue = (await channel.queue_declare(exclusive=True)).queue
        assert queue is not None
        await channel.queue_bind(queue, f"{prefix}.pipelines", "#")
        await channel.basic_consume(queue, self._keep, no_ack=True)

    async def _keep(self, message: Any) -> None:
        event = json.loads(message.body)
        data = event["data"]
        assert message.delivery.routing_key == ".".join(data[word] for word in ("tenant", "name", "kind", "status"))
        assert message.header.properties.message_id == event["id"] == f"{event['subject']}:{data['sequence']}"
        assert message.header.properties.delivery_mode == 2
        assert event["type"] == f"jobservice.{data['kind']}.{data['status'].lower()}"
        self.heard.append(data | {"subject": event["subject"], "id": event["id"]})

    @property
    def told(self) -> list[dict[str, Any]]:
        """What came again is left out."""
        first: dict[str, dict[str, Any]] = {}
        for event in self.heard:
            first.setdefault(event["id"], event)
        return list(first.values())

    async def story(self, pipeline_id: UUID) -> list[str]:
        """Its events and those of its stages, but progress, once all have come; nothing is missing or too early."""
        rows = await self.books.connection.fetch(
            """SELECT p.id::text, p.sequence, p.status FROM jobservice.pipeline p WHERE p.id = $1
               UNION ALL SELECT s.id::text, s.sequence, s.status FROM jobservice.stage s WHERE s.pipeline_id = $1""",
            pipeline_id,
        )
        wanted = {f"{row['id']}:{number}" for row in rows for number in range(2, row["sequence"] + 1)}

        async def come() -> bool:
            return wanted <= {event["id"] for event in self.heard}

        await until(come, lambda: f"{wanted - {event['id'] for event in self.heard}}")
        own = [event for event in self.told if event["pipeline_id"] == str(pipeline_id)]
        assert {event["id"] for event in own} == wanted
        by_subject: defaultdict[str, list[dict[str, Any]]] = defaultdict(list)
        for event in own:
            by_subject[event["subject"]].append(event)
        for row in rows:
            events = by_subject[row["id"]]
            assert [event["sequence"] for event in events] == list(range(2, row["sequence"] + 1))
            assert all(after["previous_status"] == before["status"] for before, after in pairwise(events))
            assert not events or events[-1]["status"] == row["status"]
            assert all(event["final"] == (event["status"] in ("SUCCEEDED", "FAILED", "ABORTED")) for event in events)
        return [shown(event) for event in own if event["status"] != event["previous_status"]]


def shown(event: dict[str, Any]) -> str:
    return f"{event['position'] or 'p'} {event['status']}"


@pytest.fixture
async def tape(books: Books, amqp_url: str, broker_prefix: str) -> AsyncIterator[Tape]:
    tape = Tape(books)
    await tape.open(amqp_url, broker_prefix)
    yield tape
    assert tape.connection is not None
    await tape.connection.close()


async def submit(books: Books, *stages: list[dict[str, Any]], **fields: Any) -> UUID:
    pipeline = {"name": "story", "stages": [{"jobs": jobs} for jobs in stages]} | fields
    query = "SELECT pipeline_id FROM jobservice.submit_pipeline($1::text::jsonb)"
    return UUID(str(await books.value(query, json.dumps(pipeline, default=str))))


async def command(books: Books, verb: str, pipeline_id: UUID) -> None:
    query = "SELECT accepted FROM jobservice.command_pipelines(ARRAY[$1::uuid], $2)"
    assert await books.value(query, pipeline_id, verb)


async def is_in(books: Books, pipeline_id: UUID, *statuses: str) -> None:
    async def look() -> bool:
        return await books.value("SELECT status FROM jobservice.pipeline WHERE id = $1", pipeline_id) in statuses

    await until(look, f"pipeline {pipeline_id} in {statuses}")


def started(position: int) -> list[str]:
    return [f"{position} QUEUED", f"{position} RUNNING"]


async def test_a_failure_and_a_restart_are_told_stage_by_stage_in_their_order(
    daemons: Daemons, books: Books, tape: Tape, tmp_path: Path
) -> None:
    await daemons.start()
    lacks = {"job_class": "Lacks", "parameters": {"file": tmp_path / "go"}, "max_attempts": 1}

    pipeline = await submit(books, [NO_OP] * 3, [NO_OP, lacks], [NO_OP], owner="ö", description="a\nb", tenant="acme")
    await is_in(books, pipeline, "FAILED")
    first = await tape.story(pipeline)
    (tmp_path / "go").touch()
    await command(books, "restart", pipeline)
    await is_in(books, pipeline, "SUCCEEDED")

    assert first == [
        "p QUEUED", *started(1), "p RUNNING", "1 SUCCEEDED", *started(2), "2 FAILED", "3 ABORTED", "p FAILED",
    ]  # fmt: skip
    assert (await tape.story(pipeline))[len(first) :] == [
        "p QUEUED", "2 PENDING", "3 PENDING", *started(2), "p RUNNING", "2 SUCCEEDED", *started(3), "3 SUCCEEDED",
        "p SUCCEEDED",
    ]  # fmt: skip
    of_stage = next(event for event in tape.told if event["status"] == "FAILED" and event["kind"] == "stage")
    counts = {name: of_stage[name] for name in ("total", "succeeded", "failed", "aborted", "retried")}
    assert counts == {"total": 2, "succeeded": 1, "failed": 1, "aborted": 0, "retried": 0}
    assert (of_stage["stage_name"], of_stage["owner"], of_stage["reason"]) == (
        "stage-2", "ö", "stage 2 (stage-2): 1 of its 2 jobs failed",
    )  # fmt: skip
    await books.all_published()


async def test_a_stop_is_told_of_every_stage_and_last_of_the_pipeline(
    daemons: Daemons, books: Books, tape: Tape
) -> None:
    await daemons.start()
    pipeline = await submit(books, [{"job_class": "Forever"}, {"job_class": "Forever"}], [NO_OP], [])
    await is_in(books, pipeline, "RUNNING")

    await command(books, "stop", pipeline)
    await is_in(books, pipeline, "ABORTED")

    story = await tape.story(pipeline)
    assert story[:4] == ["p QUEUED", *started(1), "p RUNNING"]
    assert sorted(story[4:-1]) == ["1 ABORTED", "2 ABORTED", "3 ABORTED"]
    assert story[-1] == "p ABORTED"
    assert {event["reason"] for event in tape.told if event["status"] == "ABORTED"} == {"the pipeline was stopped"}


async def test_progress_is_told_while_a_stage_runs(daemons: Daemons, books: Books, tape: Tape, tmp_path: Path) -> None:
    await daemons.start()
    jobs = [{"job_class": "Waits", "parameters": {"file": tmp_path / str(n)}} for n in range(3)]
    pipeline = await submit(books, jobs)
    await is_in(books, pipeline, "RUNNING")
    await books.connection.execute("UPDATE jobservice.stage SET told_at = told_at - interval '5 seconds'")

    (tmp_path / "0").touch()
    await until(lambda: in_progress(tape), "an event of progress")
    for n in (1, 2):
        (tmp_path / str(n)).touch()
    await is_in(books, pipeline, "SUCCEEDED")

    event, *_ = await in_progress(tape)
    assert (event["previous_status"], event["percent_completed"], event["succeeded"]) == ("RUNNING", 33, 1)
    assert (await tape.story(pipeline))[-2:] == ["1 SUCCEEDED", "p SUCCEEDED"]


async def in_progress(tape: Tape) -> list[dict[str, Any]]:
    return [event for event in tape.told if event["status"] == event["previous_status"]]


async def test_what_happened_while_the_broker_was_away_is_told_when_it_is_back(
    daemons: Daemons, broker: Outage, books: Books, tape: Tape, tmp_path: Path
) -> None:
    await daemons.start()
    pipeline = await submit(books, [NO_OP], [{"job_class": "Waits", "parameters": {"file": tmp_path / "go"}}], [NO_OP])
    await until(lambda: heard(tape, "2 RUNNING"), "the second stage runs")

    broker.away()
    (tmp_path / "go").touch()
    await is_in(books, pipeline, "SUCCEEDED")
    kept = await books.value("SELECT sum(jsonb_array_length(facts)) FROM jobservice.pipeline_outbox")
    broker.back()

    assert kept >= 5
    assert await tape.story(pipeline) == [
        "p QUEUED", *started(1), "p RUNNING", "1 SUCCEEDED", *started(2), "2 SUCCEEDED", *started(3), "3 SUCCEEDED",
        "p SUCCEEDED",
    ]  # fmt: skip
    await books.all_published()


async def heard(tape: Tape, what: str) -> bool:
    return what in map(shown, tape.heard)


async def test_two_daemons_tell_of_many_pipelines_each_in_its_order(daemons: Daemons, books: Books, tape: Tape) -> None:
    await daemons.start()
    await daemons.start()

    pipelines = [await submit(books, [NO_OP] * 3, [NO_OP], [], [NO_OP] * 2, name=f"p{n}") for n in range(20)]
    for pipeline in pipelines:
        await is_in(books, pipeline, "SUCCEEDED")

    whole = ["p QUEUED", *started(1), "p RUNNING", "1 SUCCEEDED", *started(2), "2 SUCCEEDED", "3 QUEUED", "3 SUCCEEDED",
             *started(4), "4 SUCCEEDED", "p SUCCEEDED"]  # fmt: skip
    assert [await tape.story(pipeline) for pipeline in pipelines] == [whole] * 20
    await books.all_published()


async def test_a_sweeper_killed_after_the_confirm_leaves_repetitions_only(
    processes: Processes, daemons: Daemons, database_url: str, books: Books, tape: Tape
) -> None:
    pipeline = await submit(books, [NO_OP], [NO_OP], [NO_OP])
    other = await asyncpg.connect(database_url)
    holding = other.transaction()
    await holding.start()
    await other.execute("LOCK TABLE jobservice.pipeline_outbox IN SHARE MODE")  # rows can be read, not deleted
    killed = await processes.start("--no-run")
    await until(lambda: heard(tape, "1 QUEUED"), "the sweeper's events")

    killed.send(signal.SIGKILL)
    await killed.ended()
    await holding.rollback()
    await other.close()
    await daemons.start()
    await is_in(books, pipeline, "SUCCEEDED")

    assert await tape.story(pipeline) == [
        "p QUEUED", *started(1), "p RUNNING", "1 SUCCEEDED", *started(2), "2 SUCCEEDED", *started(3), "3 SUCCEEDED",
        "p SUCCEEDED",
    ]  # fmt: skip
    times = Counter(event["id"] for event in tape.heard)
    assert times[f"{pipeline}:2"] >= 2
    await books.all_published()


async def test_a_daemon_that_leaves_tells_what_is_left_even_where_nobody_has_asked_it_to(
    daemons: Daemons, books: Books, tape: Tape
) -> None:
    running = await daemons.start(maintenance=False)
    pipeline = await submit(books, [NO_OP], [NO_OP])
    await is_in(books, pipeline, "SUCCEEDED")
    await tape.story(pipeline)
    await books.all_published()
    await books.connection.execute(
        """INSERT INTO jobservice.pipeline_outbox (facts)
           SELECT jsonb_build_array(jobservice.pipeline_fact(p, NULL, 'RUNNING', now())) FROM jobservice.pipeline p"""
    )

    await running.leave()

    assert await books.value("SELECT count(*) FROM jobservice.pipeline_outbox") == 0


async def test_facts_that_cannot_be_told_are_set_aside_and_hold_up_nobody(
    daemons: Daemons, books: Books, tape: Tape
) -> None:
    pipeline = await submit(books, [NO_OP], status="PENDING")
    fact = json.loads(
        await books.value(
            "SELECT jsonb_strip_nulls(jobservice.pipeline_fact(p, NULL, 'PENDING', now())) FROM jobservice.pipeline p"
        )
    )
    whole = dict.fromkeys(("owner", "description", "reason", "correlation_id", "traceparent")) | fact
    broken = [
        "{}", "null", "[7]", json.dumps([fact]), json.dumps([whole | {"status": "NONE"}]),
        json.dumps([whole | {"name": "a.b"}]), json.dumps([whole | {"kind": "stage"}]),
        json.dumps([whole | {"time": "soon"}]), json.dumps([whole | {"pipeline_id": "7"}]),
        json.dumps([whole | {"sequence": None}]), json.dumps([whole | {"kind": "job"}]),
    ]  # fmt: skip
    for facts in broken:
        await books.connection.execute("INSERT INTO jobservice.pipeline_outbox (facts) VALUES ($1::text::jsonb)", facts)
    await command(books, "start", pipeline)

    await daemons.start()

    await is_in(books, pipeline, "SUCCEEDED")
    assert (await tape.story(pipeline))[0] == "p QUEUED"
    await books.all_published()
    rows = await books.connection.fetch("SELECT reason FROM jobservice.pipeline_outbox_rejected ORDER BY id")
    assert len(rows) == len(broken)
