"""A daemon leaves: short runs end, long ones are handed back at no attempt, and nothing stays untold."""

import signal

from daemons import Books, Daemons, Process, Processes, Recorder, until


async def test_a_drain_lets_short_runs_end_and_hands_back_the_long_ones_at_no_attempt(
    daemons: Daemons, books: Books, recorder: Recorder
) -> None:
    running = await daemons.start(daemon={"drain_timeout": 600.0}, pool={"stop_grace": 0.2})
    file, soon = daemons.directory / "go", daemons.directory / "soon"
    short = [await books.submit("Waits", {"file": soon}) for _ in range(3)]
    long = [await books.submit("Forever"), await books.submit("ThreadWaits", {"file": file})]
    deaf = await books.submit("ThreadDeaf", {"file": file})
    for job_id in (*long, deaf, *short):
        await books.is_in(job_id, "RUNNING")

    running.daemon.drain()
    soon.touch()
    for job_id in short:
        await books.is_in(job_id, "SUCCEEDED")
    ending = await running.leave(at_once=True)

    assert ending.value == "drained"
    for job_id in (*long, deaf):
        job = await books.job(job_id)
        assert (job["status"], job["run"], job["attempt"], job["lost_runs"]) == ("QUEUED", 1, 0, 0)
        await recorder.has(job_id, "TO_BE_RUN", "RUNNING", "QUEUED")
    assert await books.value("SELECT count(*) FROM jobservice.outbox") == 0
    assert await books.value("SELECT stopped_at IS NOT NULL FROM jobservice.daemon WHERE id = $1", running.id)

    file.touch()
    await daemons.start()
    await books.is_in(long[1], "SUCCEEDED")
    await books.is_in(deaf, "SUCCEEDED")


async def test_what_has_not_ended_when_the_drain_has_lasted_long_enough_is_handed_back(
    daemons: Daemons, books: Books
) -> None:
    running = await daemons.start(daemon={"drain_timeout": 0.2})
    job_id = await books.submit("Forever")
    await books.is_in(job_id, "RUNNING")

    await running.leave()

    job = await books.job(job_id)
    assert (job["status"], job["attempt"], job["lost_runs"]) == ("QUEUED", 0, 0)


async def test_a_second_sigterm_hands_back_at_once_and_the_exit_is_clean(
    processes: Processes, books: Books, recorder: Recorder
) -> None:
    process = await processes.start(daemon__drain_timeout=600)
    job_id = await books.submit("Forever")
    await books.is_in(job_id, "RUNNING")

    process.send(signal.SIGTERM)
    await until(lambda: _logged(process, "daemon.drain"), "the drain has begun")
    later = await books.submit("NoOp")
    process.send(signal.SIGTERM)

    assert await process.ended() == 0
    assert [(await books.job(each))["status"] for each in (job_id, later)] == ["QUEUED", "QUEUED"]
    assert (await books.job(later))["run"] == 0
    await recorder.has(job_id, "TO_BE_RUN", "RUNNING", "QUEUED")


async def _logged(process: Process, event: str) -> bool:
    return bool(process.lines(event))


async def test_a_rolling_restart_under_load_costs_no_job_a_second_attempt(
    daemons: Daemons, books: Books, recorder: Recorder
) -> None:
    old = [await daemons.start(daemon={"drain_timeout": 0.1}), await daemons.start(daemon={"drain_timeout": 0.1})]
    jobs = [{"job_class": "Ticks", "parameters": {"total": n % 30}, "tenant": f"t{n % 7}"} for n in range(400)]
    await books.submit_many(jobs)

    for each in old:
        await daemons.start(daemon={"drain_timeout": 0.1})
        await each.leave()

    await books.all_final()
    await recorder.complete(books)
    await books.all_published()
    rows = await books.connection.fetch("SELECT status, attempt, lost_runs FROM jobservice.job_info")
    assert {tuple(row) for row in rows} == {("SUCCEEDED", 1, 0)}
    endings = await books.connection.fetch("SELECT DISTINCT ending FROM jobservice.job_run")
    assert {row["ending"] for row in endings} <= {"handed_back"}
