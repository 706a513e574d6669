"""What daemons do on their own initiative: trigger dates, expiry, retention, limits and pauses, progress."""

from datetime import UTC, datetime
from itertools import pairwise
from uuid import UUID

from daemons import SECONDS, Books, Daemons, Recorder, until
from factory import make_job

from jobservice import JobInfoService
from jobservice.domain.states import JobStatus

LATER = "2999-01-01T00:00:00Z"


async def submit_for(books: Books, seconds: float) -> UUID:
    """Submits for a date by the database's clock, in one statement: no stall of this machine makes it a past one."""
    query = """SELECT job_id FROM jobservice.submit(jsonb_build_object(
                 'job_class', 'NoOp', 'trigger_after_date', (clock_timestamp() + make_interval(secs => $1))::text))"""
    return UUID(str(await books.value(query, seconds)))


async def expire(books: Books, *ids: UUID) -> None:
    await books.connection.execute(
        "UPDATE jobservice.job_info SET expiration_date = clock_timestamp() WHERE id = ANY ($1::uuid[])", ids
    )


async def test_a_trigger_date_queues_the_job_when_it_has_come_and_not_before(
    daemons: Daemons, books: Books, recorder: Recorder
) -> None:
    await daemons.start()

    soon = [await submit_for(books, 0.3 + n / 10) for n in range(5)]
    late = await books.submit("NoOp", trigger_after_date=LATER)

    for job_id in soon:
        job = await books.is_in(job_id, "SUCCEEDED")
        assert job["claim_date"] >= job["trigger_after_date"]
        await recorder.has(job_id, "QUEUED", "TO_BE_RUN", "RUNNING", "SUCCEEDED")
    assert (await books.job(late))["status"] == "PENDING"


async def test_a_job_that_expired_while_no_daemon_was_there_is_failed_at_its_claim_before_its_class_is_looked_up(
    daemons: Daemons, books: Books, recorder: Recorder
) -> None:
    ids = [await books.submit(name, expiration_date=LATER) for name in ("NoOp", "Nowhere")]
    await expire(books, *ids)

    await daemons.start(maintenance=False)

    for job_id in ids:
        await books.is_in(job_id, "FAILED")
        await recorder.has(job_id, "TO_BE_RUN", "FAILED")
        error = recorder.of(job_id)[-1]["error"]
        assert error == {"type": "Expired", "message": "Expiration date reached"}


async def test_a_job_that_expires_in_a_paused_queue_ends_failed_and_is_told(
    daemons: Daemons, books: Books, recorder: Recorder
) -> None:
    await daemons.start()
    async with JobInfoService.connect(daemons.database_url) as jobs:
        await jobs.operations.pause_queue("default")
        job_id = await books.submit("NoOp", expiration_date=LATER)

        await expire(books, job_id)

        await books.is_in(job_id, "FAILED")
        await recorder.has(job_id, "FAILED")

        await jobs.operations.resume_queue("default")
    await books.is_in(await books.submit("NoOp"), "SUCCEEDED")


async def test_retention_removes_what_ended_long_ago_and_nothing_else(daemons: Daemons, books: Books) -> None:
    ended = (JobStatus.SUCCEEDED, JobStatus.FAILED, JobStatus.ABORTED)
    old = {await make_job(books.connection, status) for status in ended}
    kept = {await make_job(books.connection, status, stop_date=datetime.now(UTC)) for status in ended}
    kept |= {await make_job(books.connection, status, locked=True) for status in ended}
    kept |= {await make_job(books.connection, JobStatus.PENDING)}
    kept |= {await make_job(books.connection, JobStatus.QUEUED, queue="nobodys")}

    await daemons.start()
    await until(lambda: _gone(books, old), "the old ones are gone")

    rows = await books.connection.fetch("SELECT id FROM jobservice.job_info")
    assert {UUID(str(row["id"])) for row in rows} == kept


async def _gone(books: Books, ids: set[UUID]) -> bool:
    query = "SELECT count(*) = 0 FROM jobservice.job_info WHERE id = ANY ($1::uuid[])"
    return bool(await books.value(query, list(ids)))


async def test_a_job_that_a_user_has_held_for_too_long_is_aborted_and_told_where_that_is_asked_for(
    daemons: Daemons, books: Books, recorder: Recorder
) -> None:
    forgotten = await make_job(books.connection, JobStatus.PENDING)

    await daemons.start(retention={"pending": 3600.0, "failed": 0.0})

    await recorder.has(forgotten, "ABORTED")
    assert "retention.pending" in (await books.job(forgotten))["stop_reason"]


async def test_jobs_of_one_key_never_run_at_the_same_time_over_two_daemons(
    daemons: Daemons, books: Books, recorder: Recorder
) -> None:
    await daemons.start()
    await daemons.start()

    await books.submit_many(
        [
            {"job_class": "Ticks", "parameters": {"total": n % 2}, "concurrency_key": f"k{n % 2}", "tenant": "acme"}
            for n in range(60)
        ]
    )

    await books.all_final()
    for key in ("k0", "k1"):
        rows = await books.connection.fetch(
            "SELECT claim_date, stop_date, status FROM jobservice.job_info WHERE concurrency_key = $1 ORDER BY 1", key
        )
        assert {row["status"] for row in rows} == {"SUCCEEDED"}
        assert all(before["stop_date"] <= after["claim_date"] for before, after in pairwise(rows))
    await recorder.complete(books)


async def test_a_paused_tenant_waits_while_others_run_and_goes_on_when_it_is_resumed(
    daemons: Daemons, books: Books
) -> None:
    await daemons.start()
    async with JobInfoService.connect(daemons.database_url) as jobs:
        await jobs.pause_tenant("acme")
        paused = await books.submit("NoOp", tenant="acme")
        other = await books.submit("NoOp", tenant="other", priority=-5)
        await books.is_in(other, "SUCCEEDED")
        assert (await books.job(paused))["status"] == "QUEUED"

        await jobs.resume_tenant("acme")

    await books.is_in(paused, "SUCCEEDED")


async def test_progress_is_written_while_a_job_runs_and_is_100_at_its_success(daemons: Daemons, books: Books) -> None:
    await daemons.start()
    file = daemons.directory / "go"
    job_id = await books.submit("Waits", {"file": file, "total": 8, "done": 2})

    async def quarter() -> bool:
        return bool((await books.job(job_id))["percent_completed"] == 25)

    await until(quarter, "a quarter is done")
    job = await books.job(job_id)
    assert (job["status"], job["progress_done"], job["progress_total"]) == ("RUNNING", 2, 8)
    assert job["estimated_completion"] is not None
    file.touch()

    assert (await books.is_in(job_id, "SUCCEEDED"))["percent_completed"] == 100


async def test_a_daemon_starts_the_next_job_of_a_rate_when_its_time_has_come_and_not_at_its_next_poll(
    daemons: Daemons, books: Books
) -> None:
    await books.connection.execute(
        "INSERT INTO jobservice.queue (queue, rate, rate_period, rate_burst) VALUES ('default', 10, 1, 1)"
    )
    await daemons.start(daemon={"poll": SECONDS})

    ids = await books.submit_many([{"job_class": "NoOp"}] * 12)

    for job_id in ids:  # with the poll alone, each would take the whole time that anything is waited for
        await books.is_in(job_id, "SUCCEEDED")
    rows = await books.connection.fetch("SELECT claim_date FROM jobservice.job_info ORDER BY 1")
    gaps = [(after["claim_date"] - before["claim_date"]).total_seconds() for before, after in pairwise(rows)]
    assert min(gaps) >= 0.1
