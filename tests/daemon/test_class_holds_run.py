"""Held job classes on real daemons: nothing of them starts, it is told, and the breaker holds what fails too often."""

import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import aiormq
import pytest
from daemons import Daemons, until

from jobservice import JobInfo, JobInfoService, JobStatus, Pipeline

Told = list[tuple[str, str, str | None]]


@pytest.fixture
async def jobs(database_url: str) -> AsyncIterator[JobInfoService]:
    async with JobInfoService.connect(database_url) as service:
        yield service


@pytest.fixture
async def told(amqp_url: str, broker_prefix: str) -> AsyncIterator[Told]:
    """What a foreign client hears of job classes: routing key, class, reason; each once."""
    heard: dict[str, tuple[str, str, str | None]] = {}
    order: Told = []
    connection = await aiormq.connect(amqp_url)
    channel = await connection.channel()
    await channel.exchange_declare(f"{broker_prefix}.pipelines", exchange_type="topic", durable=True)
    queue = (await channel.queue_declare(exclusive=True)).queue
    assert queue is not None
    await channel.queue_bind(queue, f"{broker_prefix}.pipelines", "_operator.#")

    async def keep(message: Any) -> None:
        event = json.loads(message.body)
        if event["id"] not in heard:
            heard[event["id"]] = (message.delivery.routing_key, event["subject"], event["data"]["reason"])
            order.append(heard[event["id"]])

    await channel.basic_consume(queue, keep, no_ack=True)
    yield order
    await connection.close()


async def has_heard(told: Told, count: int) -> None:
    async def come() -> bool:
        return len(told) >= count

    await until(come, lambda: f"{count} events, of them {told}")


async def test_a_class_that_is_held_waits_until_its_release_and_both_are_told(
    daemons: Daemons, jobs: JobInfoService, told: Told
) -> None:
    await daemons.start()
    await jobs.operations.hold_class("NoOp", "a reason")
    waiting = await jobs.create_many([JobInfo("NoOp")] * 5)
    other = await jobs.create_as_queued(JobInfo("Echo"))
    await jobs.wait(other.job_id, timeout=60)
    held = [(await jobs.get(job.job_id)).status for job in waiting]

    await jobs.operations.release_class("NoOp")
    ended = [(await jobs.wait(job.job_id, timeout=60)).status for job in waiting]
    await has_heard(told, 2)

    assert (held, ended) == (["QUEUED"] * 5, ["SUCCEEDED"] * 5)
    assert told == [
        ("_operator.NoOp.class.HELD", "NoOp", "a reason"),
        ("_operator.NoOp.class.RELEASED", "NoOp", "a reason"),
    ]


async def test_the_breaker_holds_a_class_once_with_its_reason_and_leaves_the_others_alone(
    daemons: Daemons, jobs: JobInfoService, told: Told, tmp_path: Path
) -> None:
    running = await daemons.start(breaker={"window": 4, "share": 0.5}, pool={"capacity": 2})
    lacks = JobInfo("Lacks", parameters={"file": str(tmp_path / "never")}, max_attempts=1)

    failing = await jobs.create_many([lacks] * 12)
    await has_heard(told, 1)
    late = await jobs.create_many([lacks] * 3)
    other = await jobs.create_as_queued(JobInfo("NoOp"))
    final = await jobs.wait(other.job_id, timeout=60)

    (hold,) = await jobs.operations.held_classes()
    assert final.status == "SUCCEEDED"
    assert hold.job_class == "Lacks"
    assert hold.reason is not None
    assert hold.reason.startswith(f"breaker: 4 of its last 4 runs in daemon {running.id} failed, the last one with ")
    assert {(await jobs.get(job.job_id)).status for job in late} == {"QUEUED"}
    assert [(await jobs.get(job.job_id)).status for job in failing].count(JobStatus.FAILED) >= 4
    assert told == [("_operator.Lacks.class.HELD", "Lacks", hold.reason)]


async def test_without_the_breaker_a_class_may_fail_as_often_as_it_likes(
    daemons: Daemons, jobs: JobInfoService, tmp_path: Path
) -> None:
    await daemons.start()
    lacks = JobInfo("Lacks", parameters={"file": str(tmp_path / "never")}, max_attempts=1)
    failing = await jobs.create_many([lacks] * 30)

    ended = {(await jobs.wait(job.job_id, timeout=60)).status for job in failing}

    assert ended == {"FAILED"}
    assert await jobs.operations.held_classes() == []


async def test_subscriptions_to_pipelines_leave_holds_of_classes_out_without_a_word(
    daemons: Daemons, told: Told, caplog: pytest.LogCaptureFixture
) -> None:
    await daemons.start()
    async with (
        JobInfoService.connect(daemons.database_url, daemons.amqp_url, prefix=daemons.prefix) as jobs,
        jobs.pipelines.events() as events,
    ):
        await jobs.operations.hold_class("Other")
        await has_heard(told, 1)
        await jobs.pipelines.create(Pipeline("later"))
        first = await anext(events)

    assert first.name == "later"
    assert "event.skip" not in caplog.text
