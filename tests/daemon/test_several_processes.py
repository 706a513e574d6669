"""Two real daemons under one supervisor are killed and drained: each job runs to one end, and nobody is left."""

import signal
from collections.abc import AsyncIterator, Awaitable, Callable

import psutil
import pytest
from daemons import Books, Daemons, Processes, Recorder, lives, until
from groups import Group

Start = Callable[..., Awaitable[Group]]


@pytest.fixture
async def start(processes: Processes, books: Books) -> AsyncIterator[Start]:
    groups: list[Group] = []

    async def begin(**settings: object) -> Group:
        groups.append(await Group.start(processes, books, **settings))
        return groups[-1]

    yield begin
    for group in groups:
        await group.end()


async def test_the_jobs_of_a_killed_worker_run_again_and_another_takes_its_place(
    start: Start, books: Books, recorder: Recorder
) -> None:
    group = await start(daemon__lease=3.0)
    killed, other = await group.works()
    ids = await group.fill()
    lost = await books.connection.fetch(
        "SELECT j.id FROM jobservice.job_info j JOIN jobservice.daemon d ON d.id = j.daemon_id WHERE d.pid = $1", killed
    )

    psutil.Process(killed).kill()
    await group.gone(killed)
    pids = await group.works()
    group.go()

    await books.all_final()
    await recorder.complete(books)
    assert other in pids
    assert {(await books.job(job_id))["status"] for job_id in ids} == {"SUCCEEDED"}
    assert len(lost) == 5
    assert min([(await books.job(row["id"]))["lost_runs"] for row in lost]) >= 1
    (death,) = group.supervisor.lines("worker.die")
    assert (death["pid"], death["signal"]) == (killed, "SIGKILL")


async def test_a_signal_to_supervisor_and_workers_alike_counts_once(start: Start, books: Books) -> None:
    group = await start()
    pids = await group.works()
    await group.fill(20)

    for pid in (group.supervisor.pid, *pids):  # as service managers do
        psutil.Process(pid).send_signal(signal.SIGTERM)
    await group.says("daemon.drain", 2)
    group.go()

    assert await group.supervisor.ended() == 0
    assert not any(map(lives, pids))
    count = "SELECT count(*) FROM jobservice.job_info WHERE status = $1 AND run = $2"
    assert [await books.value(count, "SUCCEEDED", 1), await books.value(count, "QUEUED", 0)] == [10, 10]
    assert await group.pids() == []


async def test_sigterm_drains_all_and_the_rest_runs_elsewhere_every_job_once(
    start: Start, daemons: Daemons, books: Books, recorder: Recorder
) -> None:
    group = await start()
    await books.submit_many([{"job_class": "Ticks", "parameters": {"total": n % 30}} for n in range(200)])
    begun = "SELECT count(*) > 20 FROM jobservice.job_info WHERE run > 0"
    await until(lambda: books.value(begun), "they are begun")

    group.supervisor.send(signal.SIGTERM)

    assert await group.supervisor.ended() == 0
    await daemons.start()
    await books.all_final()
    await recorder.complete(books)
    rows = await books.connection.fetch("SELECT status, attempt, lost_runs FROM jobservice.job_info")
    assert {tuple(row) for row in rows} == {("SUCCEEDED", 1, 0)}


async def test_when_the_supervisor_is_killed_its_daemons_drain_and_nobody_is_left(start: Start, books: Books) -> None:
    group = await start()
    ids = await group.fill()
    family = [each.pid for each in psutil.Process(group.supervisor.pid).children(recursive=True)]

    group.supervisor.send(signal.SIGKILL)
    await group.says("daemon.drain", 2)
    group.go()

    assert len(family) >= 2
    await group.gone(*family)
    rows = [await books.job(job_id) for job_id in ids]
    assert {(row["status"], row["run"]) for row in rows} == {("SUCCEEDED", 1)}
    assert await group.pids() == []
