"""The Python client with a database: submit, command, ask, wait."""

import asyncio
from datetime import UTC, datetime, timedelta
from uuid import UUID, uuid4

import asyncpg
import pytest

from jobservice import JobInfo, JobInfoService, JobStatus
from jobservice.domain.errors import (
    ConfigurationError,
    DatabaseUnavailable,
    InvalidSubmission,
    NotLegal,
    SchemaError,
    UnknownJob,
)


def a_job(**fields: object) -> JobInfo:
    return JobInfo("ChecksumTree", **{"tenant": "acme", "parameters": {"root": "/data"}, **fields})


async def test_a_queued_job_is_read_back_as_it_was_submitted(jobs: JobInfoService) -> None:
    expires = datetime.now(UTC) + timedelta(hours=1)
    submitted = await jobs.create_as_queued(
        a_job(
            priority="HIGH", owner="me", description="d", timeout=2.5, max_attempts=3, expiration_date=expires,
            correlation_id="c", concurrency_key="k", idempotency_key="i", user_metadata={"n": 2**70}, locked=True,
        )
    )  # fmt: skip

    read = await jobs.get(submitted.job_id)

    assert read.job_id == submitted.job_id
    assert (read.status, read.priority, read.owner, read.timeout, read.max_attempts) == ("QUEUED", 100, "me", 2.5, 3)
    assert (read.expiration_date, read.correlation_id, read.concurrency_key) == (expires, "c", "k")
    assert (read.idempotency_key, read.user_metadata, read.locked) == ("i", {"n": 2**70}, True)
    assert (read.parameters, read.created_date is not None) == ({"root": "/data"}, True)


async def test_a_pending_job_is_queued_by_enqueue_and_only_once(jobs: JobInfoService) -> None:
    job = await jobs.create_as_pending(a_job())

    (result,) = await jobs.enqueue(job.job_id)

    assert (job.status, result.status) == (JobStatus.PENDING, JobStatus.QUEUED)
    with pytest.raises(NotLegal, match="QUEUED"):
        await jobs.enqueue(job.job_id)


async def test_many_are_submitted_together_or_not_at_all(jobs: JobInfoService) -> None:
    with pytest.raises(InvalidSubmission) as caught:
        await jobs.create_many([a_job(), a_job(tenant="no.dots"), a_job()])

    assert (caught.value.index, caught.value.field) == (1, "tenant")
    assert await jobs.count() == 0


async def test_an_idempotency_key_gives_the_job_that_is_there(jobs: JobInfoService) -> None:
    first = await jobs.create_as_queued(a_job(idempotency_key="order-7"))
    await jobs.stop(first.job_id)

    second = await jobs.create_as_queued(a_job(idempotency_key="order-7"))

    assert (second.job_id, second.status) == (first.job_id, JobStatus.ABORTED)


async def test_inside_the_callers_transaction_a_job_is_there_only_after_its_commit(
    jobs: JobInfoService, connection: asyncpg.Connection
) -> None:
    transaction = connection.transaction()
    await transaction.start()
    job = await jobs.create_as_queued(a_job(), connection=connection)
    before = await jobs.count()
    await transaction.rollback()

    assert before == 0
    with pytest.raises(UnknownJob):
        await jobs.get(job.job_id)


async def test_a_stop_ends_a_waiting_job_at_once_and_a_second_one_is_told_its_status(jobs: JobInfoService) -> None:
    job = await jobs.create_as_queued(a_job())

    (result,) = await jobs.stop(job.job_id, reason="not needed")

    assert result.status is JobStatus.ABORTED
    assert (await jobs.get(job.job_id)).stop_reason == "not needed"
    with pytest.raises(NotLegal, match="ABORTED"):
        await jobs.stop(job.job_id)


async def test_each_id_is_tried_before_the_first_refusal_is_raised(jobs: JobInfoService) -> None:
    job = await jobs.create_as_queued(a_job())

    with pytest.raises(UnknownJob):
        await jobs.stop(uuid4(), job.job_id)

    assert (await jobs.get(job.job_id)).status is JobStatus.ABORTED


async def test_a_stopped_job_is_restarted_as_itself_and_rerun_as_another(jobs: JobInfoService) -> None:
    job = await jobs.create_as_queued(a_job(priority=7, user_metadata={"a": 1}))
    await jobs.stop(job.job_id)

    again = await jobs.rerun(job.job_id)
    await jobs.restart(job.job_id)

    assert (await jobs.get(job.job_id)).status is JobStatus.QUEUED
    assert (again.rerun_of, again.status, again.priority, again.user_metadata) == (job.job_id, "QUEUED", 7, {"a": 1})
    with pytest.raises(NotLegal, match="QUEUED"):
        await jobs.rerun(job.job_id)


async def test_priority_expiration_and_lock_can_be_changed_while_a_job_waits(jobs: JobInfoService) -> None:
    job = await jobs.create_as_queued(a_job())
    date = datetime.now(UTC) + timedelta(days=1)

    await jobs.set_priority(job.job_id, "VERY_HIGH")
    await jobs.update_expiration(date, job.job_id)
    await jobs.lock(job.job_id)

    read = await jobs.get(job.job_id)
    assert (read.priority, read.expiration_date, read.locked) == (200, date, True)
    await jobs.unlock(job.job_id)
    assert not (await jobs.get(job.job_id)).locked


async def test_a_date_without_zone_is_refused_before_it_is_sent(jobs: JobInfoService) -> None:
    with pytest.raises(InvalidSubmission, match="zone"):
        await jobs.update_expiration(datetime(2030, 1, 1), uuid4())  # noqa: DTZ001


async def test_find_takes_all_filters_together(jobs: JobInfoService) -> None:
    wanted = await jobs.create_as_queued(a_job(owner="me", queue="images", parameters={"root": "/a", "depth": 2}))
    for other in (
        a_job(tenant="zeta", owner="me", queue="images", parameters={"root": "/a"}),
        a_job(owner="you", queue="images", parameters={"root": "/a"}),
        a_job(owner="me", parameters={"root": "/a"}),
        a_job(owner="me", queue="images", parameters={"root": "/b"}),
    ):
        await jobs.create_as_queued(other)
    filters = {
        "tenant": "acme", "status": [JobStatus.QUEUED], "job_class": "ChecksumTree", "owner": "me", "queue": "images",
        "parameters": {"root": "/a"},
    }  # fmt: skip

    page = await jobs.find(**filters)

    assert [job.job_id for job in page.jobs] == [wanted.job_id]
    assert await jobs.count(**filters) == 1
    assert await jobs.count(status=JobStatus.FAILED) == 0


@pytest.mark.parametrize("tenant", [None, "acme"])
async def test_pages_follow_each_other_newest_first_without_a_gap(jobs: JobInfoService, tenant: str | None) -> None:
    submitted = [(await jobs.create_as_queued(a_job())).job_id for _ in range(7)]
    seen: list[UUID | None] = []
    after = None

    while True:
        page = await jobs.find(tenant=tenant, limit=3, after=after)
        seen += [job.job_id for job in page.jobs]
        after = page.next
        if after is None:
            break

    assert seen == submitted[::-1]


async def test_a_selection_is_stopped_and_nothing_else(jobs: JobInfoService) -> None:
    ours = await jobs.create_many([a_job() for _ in range(3)])
    other = await jobs.create_as_queued(a_job(tenant="zeta"))

    results = await jobs.stop_selected(tenant="acme")

    assert {result.job_id for result in results} == {job.job_id for job in ours}
    assert (await jobs.get(other.job_id)).status is JobStatus.QUEUED


async def test_wait_gives_the_job_as_soon_as_it_has_ended(jobs: JobInfoService) -> None:
    job = await jobs.create_as_queued(a_job())
    waiting = asyncio.create_task(jobs.wait(job.job_id, timeout=30))

    await jobs.stop(job.job_id)

    assert (await waiting).status is JobStatus.ABORTED


async def test_wait_ends_after_its_timeout_naming_the_status(jobs: JobInfoService) -> None:
    job = await jobs.create_as_queued(a_job())

    with pytest.raises(TimeoutError, match="QUEUED"):
        await jobs.wait(job.job_id, timeout=0.05)


async def test_wait_for_an_unknown_job_does_not_wait(jobs: JobInfoService) -> None:
    with pytest.raises(UnknownJob):
        await jobs.wait(uuid4(), timeout=60)


async def test_everything_works_without_prepared_statements_and_under_another_schema_name(
    empty_database_url: str,
) -> None:
    from jobservice.store import schema

    connection = await asyncpg.connect(empty_database_url)
    await schema.apply(connection, "elsewhere")
    await connection.close()

    async with JobInfoService.connect(empty_database_url, schema="elsewhere", statement_cache=False) as jobs:
        job = await jobs.create_as_pending(a_job(idempotency_key="k"))
        await jobs.enqueue(job.job_id)
        await jobs.stop(job.job_id)
        again = await jobs.rerun(job.job_id)
        await jobs.pause_tenant("acme")
        found = await jobs.find(tenant="acme")

        assert [each.job_id for each in found.jobs] == [again.job_id, job.job_id]
        assert [tenant.paused for tenant in await jobs.operations.tenants()] == [True]


async def test_a_client_leaves_no_session_state_behind(database_url: str, connection: asyncpg.Connection) -> None:
    async with JobInfoService.connect(database_url) as jobs:
        await jobs.create_as_queued(a_job())
        database = jobs._ways.database
        assert database is not None
        async with database.use() as session:
            changed = await session.fetch(
                "SELECT name FROM pg_settings WHERE source = 'session' AND name <> 'application_name'"
            )
            listening = await session.fetch("SELECT pg_listening_channels()")

    assert (changed, listening) == ([], [])


async def test_a_missing_schema_says_what_to_do(empty_database_url: str) -> None:
    async with JobInfoService.connect(empty_database_url) as jobs:
        with pytest.raises(SchemaError, match="schema apply"):
            await jobs.create_as_queued(a_job())
        with pytest.raises(SchemaError, match="schema apply"):
            await jobs.find()


async def test_a_database_that_is_away_or_refuses_is_told_as_such(database_url: str) -> None:
    for url in ("postgresql://127.0.0.1:1/none", database_url.rsplit("/", 1)[0] + "/no_such_database"):
        async with JobInfoService.connect(url) as jobs:
            with pytest.raises(DatabaseUnavailable):
                await jobs.count()


async def test_a_client_without_any_url_is_refused() -> None:
    with pytest.raises(ConfigurationError, match="database_url"):
        async with JobInfoService.connect():
            pass
