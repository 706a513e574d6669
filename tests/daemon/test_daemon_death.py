"""A daemon dies or falls silent: its jobs are run by another, each ends once, and what it says late changes nothing."""

import signal
from uuid import UUID

from daemons import Books, Daemons, Process, Processes, Recorder, until

WATCHFUL = {"lease": 2.0}
"""Of the survivor. The other one's lease is long: it is not to declare the survivor lost."""


async def daemon_of(books: Books, process: Process) -> UUID:
    """The identity that a process has now."""
    query = "SELECT id FROM jobservice.daemon WHERE pid = $1 ORDER BY started_at DESC LIMIT 1"
    return UUID(str(await books.value(query, process.pid)))


async def at_least_running(books: Books, daemon: UUID, count: int) -> None:
    async def enough() -> bool:
        query = "SELECT count(*) >= $2 FROM jobservice.job_info WHERE daemon_id = $1 AND status = 'RUNNING'"
        return bool(await books.value(query, daemon, count))

    await until(enough, f"{count} jobs run by {daemon}")


async def test_after_a_kill_another_daemon_runs_the_jobs_to_one_end_each(
    processes: Processes, daemons: Daemons, books: Books, recorder: Recorder
) -> None:
    victim = await processes.start(pool__capacity=20)
    killed = await daemon_of(books, victim)
    file = daemons.directory / "go"
    waiting = await books.submit_many([{"job_class": "Waits", "parameters": {"file": file}} for _ in range(10)])
    ids = waiting + await books.submit_many([{"job_class": "Ticks", "parameters": {"total": 40}} for _ in range(50)])
    for job_id in waiting:
        await books.is_in(job_id, "RUNNING")

    victim.send(signal.SIGKILL)
    await victim.ended()
    file.touch()
    await daemons.start(daemon=WATCHFUL, pool={"capacity": 30})

    await books.all_final()
    await recorder.complete(books)
    await books.all_published()
    rows = [await books.job(job_id) for job_id in ids]
    assert {row["status"] for row in rows} == {"SUCCEEDED"}
    lost = [row for row in rows if row["lost_runs"]]
    assert {row["id"] for row in lost} >= set(waiting)
    assert all((row["lost_runs"], row["run"], row["attempt"]) == (1, 2, 1) for row in lost)
    assert await books.value("SELECT lost_at IS NOT NULL FROM jobservice.daemon WHERE id = $1", killed)


async def test_a_daemon_that_slept_over_its_lease_changes_nothing_and_comes_back_under_a_new_id(
    processes: Processes, daemons: Daemons, books: Books, recorder: Recorder
) -> None:
    sleeper = await processes.start()
    slept = await daemon_of(books, sleeper)
    file = daemons.directory / "go"
    ids = [await books.submit(name, {"file": file}) for name in ("Waits", "ThreadWaits", "Waits", "ThreadDeaf")]
    await at_least_running(books, slept, 4)

    sleeper.send(signal.SIGSTOP)
    survivor = await daemons.start(daemon=WATCHFUL)
    await at_least_running(books, survivor.id, 4)
    file.touch()
    await books.all_final()
    before = [await books.job(job_id) for job_id in ids]
    sleeper.send(signal.SIGCONT)

    async def is_back() -> bool:
        return await daemon_of(books, sleeper) != slept

    await until(is_back, "it has a new identity")
    assert [await books.job(job_id) for job_id in ids] == before
    assert all((row["status"], row["run"], row["daemon_id"]) == ("SUCCEEDED", 2, survivor.id) for row in before)
    await survivor.leave()
    job = await books.is_in(await books.submit("NoOp"), "SUCCEEDED")
    assert job["daemon_id"] == await daemon_of(books, sleeper)
    await recorder.complete(books)
    await books.all_published()


async def test_a_job_that_ends_its_process_too_often_ends_failed(
    processes: Processes, daemons: Daemons, books: Books, recorder: Recorder
) -> None:
    await daemons.start(daemon=WATCHFUL | {"queues": ("other",), "max_lost_runs": 1})
    await processes.start()

    job_id = await books.submit("EndsProcess")

    assert await processes.running[0].ended() == 9
    job = await books.is_in(job_id, "FAILED")
    assert (job["error_type"], job["lost_runs"]) == ("LostTooOften", 1)
    await recorder.complete(books)
