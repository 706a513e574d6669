"""Why a job is not running: each reason of the list, told from real rows."""

import json
from datetime import UTC, datetime, timedelta
from uuid import uuid4

import asyncpg

from jobservice import JobInfo, JobInfoService


async def a_daemon(connection: asyncpg.Connection, *, classes: tuple[str, ...] = ("Nap",), capacity: int = 4) -> object:
    await connection.execute("INSERT INTO jobservice.queue (queue) VALUES ('default')")
    return await connection.fetchval(
        "INSERT INTO jobservice.daemon (id, host, pid, version, queues, job_classes, capacity)"
        " VALUES ($1, 'here', 1, '0', '{default}', $2, $3) RETURNING id",
        uuid4(),
        list(classes),
        capacity,
    )


async def reasons(jobs: JobInfoService, job: JobInfo) -> list[str]:
    assert job.job_id is not None
    return await jobs.why_not_running(job.job_id)


async def test_a_held_job_waits_for_enqueue(jobs: JobInfoService) -> None:
    job = await jobs.create_as_pending(JobInfo("Nap"))

    (reason,) = await reasons(jobs, job)

    assert "enqueues" in reason


async def test_a_job_with_a_trigger_date_waits_for_that_date(jobs: JobInfoService) -> None:
    date = datetime.now(UTC) + timedelta(hours=1)
    job = await jobs.create_as_queued(JobInfo("Nap", trigger_after_date=date))

    (reason,) = await reasons(jobs, job)

    assert date.isoformat() in reason


async def test_without_a_daemon_nobody_serves_the_queue(jobs: JobInfoService) -> None:
    job = await jobs.create_as_queued(JobInfo("Nap"))

    assert await reasons(jobs, job) == ["no living daemon serves queue default"]


async def test_a_class_that_no_daemon_knows_is_named(jobs: JobInfoService, connection: asyncpg.Connection) -> None:
    await a_daemon(connection, classes=("Other",))
    job = await jobs.create_as_queued(JobInfo("Nap"))

    (reason,) = await reasons(jobs, job)

    assert "Nap is unknown" in reason


async def test_pauses_and_limits_are_told_together_with_the_jobs_ahead(
    jobs: JobInfoService, connection: asyncpg.Connection
) -> None:
    await a_daemon(connection)
    await jobs.create_many([JobInfo("Nap", tenant="acme", priority=9)] * 2)
    job = await jobs.create_as_queued(JobInfo("Nap", tenant="acme"))
    await jobs.pause_tenant("acme")
    await jobs.operations.pause_queue("default")
    await jobs.operations.limit_tenant("acme", max_running=0)

    assert await reasons(jobs, job) == [
        "queue default is paused",
        "tenant acme is paused",
        "the limit of tenant acme is reached: 0 of 0 run",
        "2 jobs of tenant acme are ahead of it",
    ]


async def test_the_holder_of_a_concurrency_key_is_named(jobs: JobInfoService, connection: asyncpg.Connection) -> None:
    daemon = await a_daemon(connection)
    first, second = await jobs.create_many([JobInfo("Nap", concurrency_key="disk")] * 2)
    await connection.fetch("SELECT * FROM jobservice.claim('default', 4, $1, '{}', '{}', '{}')", daemon)

    told = await reasons(jobs, second)

    assert [reason for reason in told if str(first.job_id) in reason and "disk" in reason]


async def claim(connection: asyncpg.Connection, daemon: object) -> None:
    await connection.fetch("SELECT * FROM jobservice.claim('default', 4, $1, '{}', '{}', '{}')", daemon)


async def test_a_rate_that_is_spent_is_told_with_the_date_of_the_next_start(
    jobs: JobInfoService, connection: asyncpg.Connection
) -> None:
    daemon = await a_daemon(connection)
    await jobs.operations.limit_queue("default", rate="2/h")
    await jobs.operations.limit_tenant("acme", rate="3/d", burst=2)
    *_, third = await jobs.create_many([JobInfo("Nap", tenant="acme")] * 3)
    before = await reasons(jobs, third)

    await claim(connection, daemon)

    next_at = {
        table: await connection.fetchval(f"SELECT rate_full_at - interval '{interval}' FROM jobservice.{table}")
        for table, interval in {"queue": "30 minutes", "tenant": "8 hours"}.items()
    }
    assert [reason for reason in before if "started" in reason] == []
    assert await reasons(jobs, third) == [
        f"queue default has started 2 of 2 per h; next at {next_at['queue'].isoformat()}",
        "tenant acme has started as many as its rate allows, 3 per d, 2 at once; "
        f"next at {next_at['tenant'].isoformat()}",
    ]


async def test_a_key_with_places_of_its_own_says_how_many_are_taken(
    jobs: JobInfoService, connection: asyncpg.Connection
) -> None:
    daemon = await a_daemon(connection)
    await jobs.operations.limit_key("acme", "disk", max_running=2)
    *_, third = await jobs.create_many([JobInfo("Nap", tenant="acme", concurrency_key="disk")] * 3)
    await claim(connection, daemon)

    (held,) = await reasons(jobs, third)
    await jobs.operations.limit_key("acme", "disk", max_running=0)
    (closed,) = await reasons(jobs, third)

    assert held.endswith("(2 of 2 run)")
    assert closed == "the concurrency key disk lets nothing run: its limit is 0"


async def test_the_limit_of_a_tenant_on_one_queue_is_told_as_such(
    jobs: JobInfoService, connection: asyncpg.Connection
) -> None:
    daemon = await a_daemon(connection)
    await jobs.operations.limit_tenant("acme", queue="default", max_running=1)
    _, second = await jobs.create_many([JobInfo("Nap", tenant="acme")] * 2)

    await claim(connection, daemon)

    assert await reasons(jobs, second) == ["the limit of tenant acme on queue default is reached: 1 of 1 run"]


async def test_a_job_that_has_ended_has_no_reason(jobs: JobInfoService) -> None:
    job = await jobs.create_as_queued(JobInfo("Nap"))
    await jobs.stop(job.job_id)

    assert await reasons(jobs, job) == []


async def test_a_hold_of_its_class_or_of_all_is_told_with_its_reason(
    jobs: JobInfoService, connection: asyncpg.Connection
) -> None:
    daemon = await a_daemon(connection)
    job = await jobs.create_as_queued(JobInfo("Nap"))
    await jobs.operations.hold_class("Nap", "its licence has run out")
    await claim(connection, daemon)
    await jobs.operations.hold_class("*")

    held = await reasons(jobs, job)
    released = [await jobs.operations.release_class(name) for name in ("Nap", "*", "Nap")]

    assert held == ["all job classes are held", "job class Nap is held: its licence has run out"]
    assert released == [True, True, False]
    assert await reasons(jobs, job) == []


async def test_a_hold_a_paused_pipeline_and_a_full_key_are_each_told(
    jobs: JobInfoService, connection: asyncpg.Connection
) -> None:
    daemon = await a_daemon(connection, classes=("Nap", "Other"))
    first = await jobs.create_as_queued(JobInfo("Other", concurrency_key="disk"))
    await claim(connection, daemon)
    tree = {"name": "maps", "stages": [{"jobs": [{"job_class": "Nap", "concurrency_key": "disk"}]}]}
    pipeline = await connection.fetchval(
        "SELECT pipeline_id FROM jobservice.submit_pipeline($1::text::jsonb)", json.dumps(tree)
    )
    await connection.execute("SELECT jobservice.command_pipelines(ARRAY[$1::uuid], 'pause')", pipeline)
    await jobs.operations.hold_class("Nap")
    await claim(connection, daemon)
    job = await connection.fetchval("SELECT id FROM jobservice.job_info WHERE pipeline_id = $1", pipeline)

    told = await jobs.why_not_running(job)

    assert told == [
        "job class Nap is held",
        "pipeline maps is paused",
        f"the concurrency key disk is held by {first.job_id}",
    ]


async def test_a_job_of_a_stage_that_is_not_open_names_stage_and_pipeline_and_what_they_wait_for(
    jobs: JobInfoService,
) -> None:
    tree = {"stages": [{"name": "one", "hold": True, "jobs": [{"job_class": "Nap"}]}]}
    held = await jobs.pipelines.create({"name": "maps", "tenant": "acme", **tree})
    new = await jobs.pipelines.create({"name": "maps", "tenant": "acme", "status": "PENDING", **tree})

    told = []
    for pipeline in (held, new):
        (job,) = (await jobs.pipelines.stage_jobs(pipeline.stages[0].stage_id)).jobs
        told += await jobs.why_not_running(job.id)

    assert told == [
        f"held: stage 1 (one) of pipeline maps ({held.pipeline_id}) is not open yet and on hold",
        f"held: pipeline maps ({new.pipeline_id}) was not started",
    ]
