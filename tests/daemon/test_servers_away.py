"""PostgreSQL or RabbitMQ away, at the start and in the middle: the daemon waits and says so, and nothing is lost."""

import pytest
from daemons import Books, Daemons, Processes, Recorder, Running, until
from outages import Outage

from jobservice.domain.errors import SchemaError


async def is_ready(running: Running) -> None:
    async def ready() -> bool:
        return (await running.asked())[0] == 200

    await until(ready, "ready")


async def test_a_daemon_without_postgresql_says_that_it_lives_and_is_not_ready_and_begins_when_it_comes(
    daemons: Daemons, database: Outage, books: Books
) -> None:
    database.away()
    job_id = await books.submit("NoOp")

    running = daemons.begin()

    async def told() -> bool:
        status, facts = await running.asked()
        return status == 503 and facts["database"] is False

    await until(told, "/readyz says that the database is away")
    assert (await running.asked("/livez"))[0] == 200
    assert (await books.job(job_id))["status"] == "QUEUED"

    database.back()
    await books.is_in(job_id, "SUCCEEDED")
    await is_ready(running)


async def test_a_drain_ends_a_daemon_that_waits_for_postgresql(daemons: Daemons, database: Outage) -> None:
    database.away()
    running = daemons.begin()

    ending = await running.leave()

    assert ending.value == "drained"


async def test_a_daemon_whose_registration_was_answered_by_silence_registers_once(
    daemons: Daemons, database: Outage, books: Books
) -> None:
    database.lose_answer("claim", b"COMMIT")

    await daemons.start()

    assert database.answer_lost.is_set()
    assert await books.value("SELECT count(*) FROM jobservice.daemon") == 1
    await books.is_in(await books.submit("NoOp"), "SUCCEEDED")


async def test_jobs_run_without_a_broker_and_their_events_come_in_order_with_it(
    daemons: Daemons, broker: Outage, books: Books, recorder: Recorder
) -> None:
    broker.away()
    running = daemons.begin()

    ids = await books.submit_many([{"job_class": "NoOp"} for _ in range(50)])

    await books.all_final()
    status, facts = await running.asked()
    assert (status, facts["database"], facts["broker"]) == (503, True, False)
    assert await books.value("SELECT count(*) FROM jobservice.outbox") > 0
    assert not recorder.events

    broker.back()
    await recorder.complete(books)
    await books.all_published()
    await is_ready(running)
    assert all(recorder.statuses(job_id) == ["TO_BE_RUN", "RUNNING", "SUCCEEDED"] for job_id in ids)


async def test_a_daemon_without_maintenance_sweeps_what_it_could_not_sweep_while_the_broker_was_away(
    daemons: Daemons, broker: Outage, books: Books, recorder: Recorder
) -> None:
    broker.away()
    job_id = await books.submit("NoOp", queue="nobodys")
    await books.stop(job_id)
    running = daemons.begin(maintenance=False)
    await daemons.is_registered(running)

    broker.back()

    await recorder.has(job_id, "ABORTED")
    await books.all_published()


async def test_a_broker_that_goes_and_comes_in_the_middle_costs_no_event_and_no_order(
    daemons: Daemons, broker: Outage, books: Books, recorder: Recorder
) -> None:
    await daemons.start()
    await daemons.start()

    for _ in range(3):
        ids = await books.submit_many([{"job_class": "Ticks", "parameters": {"total": 3}} for _ in range(60)])
        await recorder.has(ids[0], "TO_BE_RUN", "RUNNING", "SUCCEEDED")
        broker.away()
        await books.submit_many([{"job_class": "NoOp"} for _ in range(60)])
        await books.all_final()
        broker.back()
        await books.all_published()

    await recorder.complete(books)


async def test_jobs_that_run_while_postgresql_is_away_are_written_when_it_is_back(
    daemons: Daemons, database: Outage, books: Books, recorder: Recorder
) -> None:
    running = await daemons.start()
    file = daemons.directory / "go"
    ids = [await books.submit("Waits", {"file": file}) for _ in range(5)]
    for job_id in ids:
        await books.is_in(job_id, "RUNNING")

    database.away()
    file.touch()
    await until(lambda: _all_ended(running), "all runs ended")
    database.back()

    await books.all_final()
    await recorder.complete(books)
    assert [(await books.job(job_id))["run"] for job_id in ids] == [1] * 5
    assert not running.task.done()


async def _all_ended(running: Running) -> bool:
    return not running.daemon._parts.pool.running


async def test_terminating_all_backends_under_load_loses_nothing_and_runs_nothing_twice_to_its_end(
    daemons: Daemons, books: Books, recorder: Recorder
) -> None:
    await daemons.start()
    await daemons.start()
    await books.submit_many([{"job_class": "Ticks", "parameters": {"total": 2}} for _ in range(600)])

    for share in (100, 250, 400):
        await until(lambda share=share: _succeeded(books, share), f"{share} jobs succeeded")
        await books.value(
            """SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity
               WHERE datname = current_database() AND application_name LIKE 'jobservice %'"""
        )

    await books.all_final()
    await recorder.complete(books)
    await books.all_published()
    assert await books.value("SELECT count(*) FROM jobservice.job_info WHERE status <> 'SUCCEEDED'") == 0
    assert await books.value("SELECT count(*) FROM jobservice.daemon WHERE lost_at IS NULL") == 2


async def _succeeded(books: Books, at_least: int) -> bool:
    query = "SELECT count(*) >= $1 FROM jobservice.job_info WHERE status = 'SUCCEEDED'"
    return bool(await books.value(query, at_least))


async def test_a_daemon_without_a_schema_ends_and_says_what_to_do(daemons: Daemons, empty_database_url: str) -> None:
    daemons.database_url = empty_database_url

    with pytest.raises(SchemaError, match="jobservice schema apply"):
        await daemons.build().run()


async def test_the_process_of_a_daemon_without_a_schema_exits_with_6(
    processes: Processes, empty_database_url: str
) -> None:
    processes.database_url = empty_database_url

    process = await processes.start(wait=False)

    assert await process.ended() == 6
    assert "jobservice schema apply" in process.log.read_text()
