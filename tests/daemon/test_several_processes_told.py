"""What `daemon --processes 2` tells from outside: one health port for all, and refusals said once."""

import signal
import socket

import psutil
from daemons import Books, Processes
from groups import Group


async def test_one_port_answers_for_all_also_when_one_was_told_to_leave(processes: Processes, books: Books) -> None:
    group = await Group.start(processes, books)
    pids = await group.works()

    said = await group.told(lambda said: said["ready"] == 2)
    psutil.Process(pids[0]).send_signal(signal.SIGTERM)
    await group.says("worker.leave")
    job = await books.is_in(await books.submit("NoOp"), "SUCCEEDED")
    later = await group.told(lambda said: said["ok"])

    assert (said["ok"], said["processes"], said["capacity"]) == (True, 2, 10)
    rows = {
        row["pid"]: row for row in await books.connection.fetch("SELECT *, id::text AS name FROM jobservice.daemon")
    }
    assert {(each["pid"], each["daemon_id"], each["capacity"]) for each in said["workers"]} == {
        (pid, rows[pid]["name"], 5) for pid in pids
    }
    (start,) = group.supervisor.lines("supervisor.start")
    assert {rows[pid]["http_url"] for pid in pids} == {start["http_url"]}
    assert job["daemon_id"] == rows[pids[1]]["id"]
    assert sorted(each["state"] for each in later["workers"]) == ["left", "running"]
    await group.end()


async def test_a_database_without_schema_ends_all_and_is_said_once(
    empty_database_url: str, processes: Processes
) -> None:
    refused = await processes.start("--processes", "2", "--database-url", empty_database_url, wait=False)

    assert await refused.ended() == 6
    assert refused.log.read_text().count("jobservice: ") == 1
    assert len(refused.lines("worker.start")) == 1


async def test_job_classes_that_are_not_there_end_all_with_2(processes: Processes) -> None:
    refused = await processes.start("--processes", "2", wait=False, jobs__packages='["no_such_jobs"]')

    assert await refused.ended() == 2
    assert "no_such_jobs" in refused.log.read_text()


async def test_a_health_port_that_is_taken_ends_all_before_a_worker_is_started(processes: Processes) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        refused = await processes.start("--processes", "2", wait=False, daemon__http_port=port)
        status = await refused.ended()

    assert status == 2
    assert f"daemon.http_port {port}" in refused.log.read_text()
    assert refused.lines("worker.start") == []
