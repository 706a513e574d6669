"""Jobs that break what they run in: the daemon, its other jobs and its end in good order bear them."""

import signal
from uuid import UUID

from daemons import Books, Daemons, Processes, Recorder

SETTINGS = {"jobs__packages": '["broken_jobs"]'}
WATCHFUL = {"lease": 3.0}


async def test_a_blocked_event_loop_is_not_a_death(processes: Processes, daemons: Daemons, books: Books) -> None:
    blocked = await processes.start(**SETTINGS, pool__capacity=4)
    jobs = [{"job_class": "Blocks", "parameters": {"seconds": 5.0}}, {"job_class": "Fine"}]
    ids = await books.submit_many(jobs)
    await books.is_in(ids[0], "TO_BE_RUN", "RUNNING", "SUCCEEDED")

    watcher = await daemons.start(daemon=WATCHFUL, run=False)

    await books.all_final()
    rows = [await books.job(job_id) for job_id in ids]
    assert {(row["status"], row["run"], row["lost_runs"]) for row in rows} == {("SUCCEEDED", 1, 0)}
    assert not await books.value("SELECT count(*) FROM jobservice.daemon WHERE lost_at IS NOT NULL")
    assert watcher.id not in {row["daemon_id"] for row in rows}
    blocked.send(signal.SIGTERM)
    assert await blocked.ended() == 0


async def test_a_daemon_bears_what_jobs_leave_behind_and_ends_in_good_order(
    processes: Processes, books: Books, recorder: Recorder
) -> None:
    daemon = await processes.start(**SETTINGS, daemon__drain_timeout=1)
    broken = ["RaisesInDel", "LeavesThreads", "ClosesOutput", "Forks", "LeavesTask", "Allocates"]
    ids: dict[str, UUID] = {}
    for name in broken:
        ids[name] = await books.submit(name)
        await books.is_in(ids[name], "SUCCEEDED", "FAILED")
        await books.is_in(await books.submit("Fine"), "SUCCEEDED")

    daemon.send(signal.SIGTERM)

    assert await daemon.ended() == 0
    ends = {name: (await books.job(job_id))["status"] for name, job_id in ids.items()}
    assert ends == dict.fromkeys(broken, "SUCCEEDED") | {"Allocates": "FAILED"}
    assert "MemoryError" in (await books.job(ids["Allocates"]))["error_type"]
    await recorder.complete(books)
    assert [line["threads"] for line in daemon.lines("daemon.leave_threads")] != []
