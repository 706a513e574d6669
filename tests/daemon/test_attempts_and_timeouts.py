"""Attempts, timeouts, runs that do not end and jobs in processes, through a daemon on real servers."""

import os
from pathlib import Path

from daemons import Books, Daemons, Recorder, until

from jobservice.client.service import JobInfoService
from jobservice.sdk.registry import Registry


def registry() -> Registry:
    return Registry.load(["attempt_jobs"])


async def test_a_job_is_tried_again_until_it_succeeds_and_each_failure_is_told_and_kept(
    daemons: Daemons, books: Books, recorder: Recorder
) -> None:
    await daemons.start(registry=registry())

    job_id = await books.submit("SucceedsAtLast", {"good": 3})

    again = ["TO_BE_RUN", "RUNNING", "PENDING", "QUEUED"]
    await recorder.has(job_id, *again, *again, "TO_BE_RUN", "RUNNING", "SUCCEEDED")
    first = recorder.of(job_id)[2]
    assert (first["will_retry"], first["final"], first["daemon_id"]) == (True, False, None)
    assert first["error"] == {"type": "ConnectionError", "message": "attempt 1"}
    job = await books.job(job_id)
    assert (job["attempt"], job["run"], job["result"], job["error_message"]) == (3, 3, "3", None)
    async with JobInfoService.connect(daemons.database_url) as jobs:
        runs = await jobs.runs(job_id)
    assert [(run.run, run.attempt, run.ending) for run in runs] == [
        (1, 1, "retried"), (2, 2, "retried"), (3, 3, "SUCCEEDED"),
    ]  # fmt: skip
    assert [run.error_message for run in runs] == ["attempt 1", "attempt 2", None]
    await recorder.complete(books)


async def test_the_last_attempt_ends_failed_and_a_restart_gives_all_attempts_back(
    daemons: Daemons, books: Books, recorder: Recorder
) -> None:
    await daemons.start(registry=registry())
    job_id = await books.submit("SucceedsAtLast", {"good": 2}, max_attempts=1)
    failed = await books.is_in(job_id, "FAILED")

    await books.connection.execute("UPDATE jobservice.job_info SET max_attempts = 2 WHERE id = $1", job_id)
    async with JobInfoService.connect(daemons.database_url) as jobs:
        await jobs.restart(job_id)
    ended = await books.is_in(job_id, "SUCCEEDED")

    assert (failed["attempt"], failed["error_message"]) == (1, "attempt 1")
    assert (ended["attempt"], ended["run"], ended["error_message"]) == (2, 3, None)
    await recorder.complete(books, ends=2)


async def test_a_job_may_ask_for_another_attempt_at_once(daemons: Daemons, books: Books, recorder: Recorder) -> None:
    await daemons.start(registry=registry())

    job_id = await books.submit("AsksAgain", {"after": 0})

    await recorder.has(job_id, "TO_BE_RUN", "RUNNING", "QUEUED", "TO_BE_RUN", "RUNNING", "SUCCEEDED")
    assert recorder.of(job_id)[2]["error"]["message"] == "not yet"


async def test_an_error_that_the_class_does_not_name_fails_at_once(daemons: Daemons, books: Books) -> None:
    await daemons.start(registry=registry())

    job = await books.is_in(await books.submit("Picky"), "FAILED")

    assert (job["attempt"], job["error_message"]) == (1, "not of that kind")


async def test_a_job_that_waits_for_its_next_attempt_can_be_stopped(daemons: Daemons, books: Books) -> None:
    await daemons.start(registry=registry())
    job_id = await books.submit("AsksAgain", {"after": 3600})
    waiting = await books.is_in(job_id, "PENDING")

    await books.stop(job_id)

    assert waiting["held"] == "backoff"
    assert (await books.job(job_id))["status"] == "ABORTED"


async def test_a_timeout_fails_the_job_and_frees_its_slot(daemons: Daemons, books: Books) -> None:
    await daemons.start(registry=registry(), pool={"capacity": 1, "stop_grace": 2.0})

    slow, own, quick = await books.submit_many(
        [{"job_class": "Slow"}, {"job_class": "Slow", "timeout": 0.05}, {"job_class": "Quick"}]
    )

    await books.is_in(quick, "SUCCEEDED")
    by_class, by_job = await books.job(slow), await books.job(own)
    assert "JobTimeout" in by_class["error_type"]
    assert ("0.2 s" in by_class["error_message"], "0.05 s" in by_job["error_message"]) == (True, True)


async def test_a_run_that_hears_no_stop_is_given_up_its_slot_serves_others_and_its_late_word_counts_for_nothing(
    daemons: Daemons, books: Books, recorder: Recorder, tmp_path: Path
) -> None:
    running = await daemons.start(registry=registry(), pool={"capacity": 1, "threads": 1, "stop_grace": 0.1})
    file = tmp_path / "go"
    deaf = await books.submit("DeafThread", {"file": str(file)})
    await books.is_in(deaf, "RUNNING")

    await books.stop(deaf)
    job = await books.is_in(deaf, "ABORTED")
    next_on_a_thread = await books.submit("DeafThread", {"file": str(tmp_path)})
    await books.is_in(next_on_a_thread, "SUCCEEDED")

    async def counted(stuck: int) -> bool:
        return bool(await books.value("SELECT stuck FROM jobservice.daemon") == stuck)

    await until(lambda: counted(1), "the stuck run is counted")
    file.touch()
    await until(lambda: counted(0), "it has ended")
    assert "did not end within 0.1 s" in job["stop_reason"]
    assert (await books.job(deaf))["status"] == "ABORTED"
    assert running.daemon._parts.pool.free == 1
    await recorder.complete(books)


async def test_jobs_in_processes_return_die_and_are_killed_and_leave_no_process(
    daemons: Daemons, books: Books, recorder: Recorder
) -> None:
    running = await daemons.start(registry=registry(), pool={"capacity": 4, "processes": 2, "stop_grace": 0.3})
    jobs = [{"job_class": "InProcess", "parameters": {"how": how}} for how in ("hold", "die", "return")]
    holds, dies, returns = await books.submit_many(jobs)
    returned = await books.is_in(returns, "SUCCEEDED", "FAILED")
    assert returned["status"] == "SUCCEEDED", returned["stack_trace"]
    died = await books.is_in(dies, "FAILED")
    await books.is_in(holds, "RUNNING")
    pids = running.daemon._parts.executors.processes.pids

    await books.stop(holds)
    await books.is_in(holds, "ABORTED")
    await running.leave()

    assert int(returned["result"]) != os.getpid()
    assert "SIGKILL" in died["error_message"]
    assert not [pid for pid in (*pids, int(returned["result"])) if _lives(pid)]
    await recorder.complete(books)


async def test_a_drain_hands_a_job_in_a_process_back_and_another_daemon_runs_it(daemons: Daemons, books: Books) -> None:
    first = await daemons.start(registry=registry(), daemon={"drain_timeout": 0.0}, pool={"stop_grace": 0.5})
    job_id = await books.submit("InProcess", {"how": "hold"})
    await books.is_in(job_id, "RUNNING")

    await first.leave()

    job = await books.job(job_id)
    assert (job["status"], job["attempt"], job["run"], job["lost_runs"]) == ("QUEUED", 0, 1, 0)


def _lives(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True
