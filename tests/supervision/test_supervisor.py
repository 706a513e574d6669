"""A supervisor and its workers: who is started again and when, who ends all, and that nobody is left behind."""

import ctypes
import json
import os
import signal
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.error import HTTPError

import psutil
import pytest
from daemons import lives

PROGRAM = Path(__file__).with_name("supervising.py")
SECONDS = 60.0
LONG = {"drain_timeout": 600.0, "leave_timeout": 600.0}
SUBREAPER = 36
"""PR_SET_CHILD_SUBREAPER: orphans below become its children, as they become those of a container's first process."""


def until(claim: Callable[[], Any], what: str) -> Any:
    deadline = time.monotonic() + SECONDS
    while not (value := claim()):
        assert time.monotonic() < deadline, f"not within {SECONDS:g} s: {what}"
        time.sleep(0.01)
    return value


class Supervised:
    """A supervisor whose workers all go the same way, and what they leave in `directory`."""

    def __init__(self, directory: Path, way: str, count: int, subreaper: bool = False, **settings: float) -> None:
        self.directory = directory
        self.log = directory / "log"
        given = {"way": way, "directory": str(directory), "count": count, **LONG, **settings}
        adopt = (lambda: ctypes.CDLL(None).prctl(SUBREAPER, 1)) if subreaper else None
        with self.log.open("wb") as log:
            self.process = subprocess.Popen(
                [sys.executable, PROGRAM, "supervise", json.dumps(given)],
                stderr=log,
                preexec_fn=adopt,  # noqa: PLW1509 - one system call
            )

    def marks(self, step: str) -> list[int]:
        return [int(path.name.rpartition("-")[2]) for path in self.directory.glob(f"{step}-*")]

    def comes(self, step: str, count: int) -> list[int]:
        """Waits until so many workers have got so far; their process ids."""
        return until(lambda: len(found := self.marks(step)) >= count and found, f"{count} x {step}\n{self.said()}")

    def said(self) -> str:
        return self.log.read_text()

    def lines(self, event: str) -> list[dict[str, Any]]:
        lines = [json.loads(line) for line in self.said().splitlines(keepends=True) if line.endswith("\n")]
        return [line for line in lines if line["event"] == event]

    def ready(self) -> tuple[int, dict[str, Any]]:
        (start,) = until(lambda: self.lines("supervisor.start"), "it has an address")
        try:
            with urllib.request.urlopen(f"{start['http_url']}/readyz", timeout=SECONDS) as answer:
                return answer.status, json.load(answer)
        except HTTPError as answer:
            return answer.code, json.load(answer)

    def told(self, claim: Callable[[int, dict[str, Any]], bool]) -> dict[str, Any]:
        """Waits until `/readyz` answers so: on a busy machine a worker may be silent for a while."""

        def so() -> dict[str, Any] | None:
            status, said = self.ready()
            return said if claim(status, said) else None

        return until(so, f"an answer; the last was {self.ready()}")

    def ended(self) -> int:
        return self.process.wait(SECONDS)


@pytest.fixture
def supervised(tmp_path: Path) -> Iterator[Callable[..., Supervised]]:
    running: list[Supervised] = []

    def start(way: str, count: int = 2, **how: Any) -> Supervised:
        running.append(Supervised(tmp_path, way, count, **how))
        return running[-1]

    yield start
    for each in running:
        pids = [each.process.pid, *each.marks("started"), *each.marks("attends"), *each.marks("child")]
        if each.process.poll() is None:
            each.process.kill()
        each.process.wait()
        for pid in pids[1:]:
            if lives(pid):
                os.kill(pid, signal.SIGKILL)


def gone(*pids: int) -> None:
    until(lambda: not any(map(lives, pids)), f"the end of {pids}")


# ------------------------------------------------------------------------------------------------------------- starts


def test_what_the_first_refuses_ends_all_with_its_status_and_is_said_once(
    supervised: Callable[..., Supervised],
) -> None:
    supervisor = supervised("Refuses", count=4)

    assert supervisor.ended() == 6
    assert len(supervisor.marks("refused")) == 1
    assert [line["exit_status"] for line in supervisor.lines("worker.refuse")] == [6]


def test_a_worker_that_dies_again_and_again_waits_longer_each_time_and_holds_up_no_end(
    supervised: Callable[..., Supervised],
) -> None:
    supervisor = supervised("IsKilled", count=1)

    deaths = until(lambda: len(found := supervisor.lines("worker.die")) >= 3 and found, "three deaths")
    supervisor.process.terminate()

    assert supervisor.ended() == 0
    assert [death["signal"] for death in deaths[:3]] == ["SIGKILL"] * 3
    for death, least in zip(deaths, (0.25, 0.5, 1.0), strict=False):
        assert least <= death["restart_in_seconds"] <= 2 * least


def test_a_worker_that_vanishes_with_status_0_was_not_told_to_and_is_started_again(
    supervised: Callable[..., Supervised],
) -> None:
    supervisor = supervised("Vanishes", count=1)

    supervisor.comes("started", 2)

    assert supervisor.lines("worker.die")[0]["exit_status"] == 0


def test_workers_that_leave_because_they_were_told_to_are_not_started_again(
    supervised: Callable[..., Supervised],
) -> None:
    supervisor = supervised("Leaves", count=2)

    assert supervisor.ended() == 0
    assert len(supervisor.marks("started")) == 2


# --------------------------------------------------------------------------------------------------------------- ends


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_one_signal_drains_all_and_they_end_well(supervised: Callable[..., Supervised], number: signal.Signals) -> None:
    supervisor = supervised("Works", count=2)
    pids = supervisor.comes("started", 2)

    supervisor.process.send_signal(number)

    assert supervisor.ended() == 0
    assert sorted(supervisor.marks("drain")) == sorted(pids)
    assert supervisor.marks("at_once") == []


def test_a_signal_before_any_has_begun_ends_all_well(supervised: Callable[..., Supervised]) -> None:
    supervisor = supervised("Works", count=2)
    until(lambda: supervisor.lines("worker.start"), "the first is being started")

    supervisor.process.terminate()

    assert supervisor.ended() == 0
    assert len(supervisor.lines("worker.start")) <= 2


def test_a_second_signal_ends_the_drain_of_all(supervised: Callable[..., Supervised]) -> None:
    supervisor = supervised("LeavesOnlyAtOnce", count=2)
    supervisor.comes("started", 2)
    supervisor.process.terminate()
    pids = supervisor.comes("drain", 2)

    supervisor.process.terminate()

    assert supervisor.ended() == 0
    assert sorted(supervisor.marks("at_once")) == sorted(pids)


def test_one_that_does_not_leave_in_time_is_killed_with_its_children_and_the_status_tells(
    supervised: Callable[..., Supervised],
) -> None:
    supervisor = supervised("Deaf", count=2, drain_timeout=0.2, leave_timeout=0.2)
    pids = [*supervisor.comes("started", 2), *supervisor.comes("child", 2)]

    supervisor.process.terminate()

    assert supervisor.ended() == 128 + signal.SIGKILL
    assert len(supervisor.lines("worker.kill")) == 2
    gone(*pids)


def test_after_a_second_signal_nobody_waits_for_the_drain_any_more(supervised: Callable[..., Supervised]) -> None:
    supervisor = supervised("Deaf", count=1, drain_timeout=600.0, leave_timeout=0.2)
    supervisor.comes("started", 1)

    supervisor.process.terminate()
    until(lambda: supervisor.lines("supervisor.signal"), "the first signal is heard")
    supervisor.process.terminate()

    assert supervisor.ended() == 128 + signal.SIGKILL


# ----------------------------------------------------------------------------------------------------- nobody is left


def test_workers_drain_when_their_supervisor_is_killed(supervised: Callable[..., Supervised]) -> None:
    supervisor = supervised("Works", count=2)
    pids = supervisor.comes("started", 2)

    supervisor.process.kill()

    gone(*pids)
    assert sorted(supervisor.marks("drain")) == sorted(pids)


def test_a_worker_whose_event_loop_is_blocked_does_not_outlive_its_supervisor(
    supervised: Callable[..., Supervised],
) -> None:
    supervisor = supervised("Blocks", count=2, drain_timeout=0.2, leave_timeout=0.2)
    pids = supervisor.comes("started", 2)

    supervisor.process.kill()

    gone(*pids)


@pytest.mark.skipif(sys.platform != "linux", reason="only there a process can be made to adopt orphans")
def test_orphans_that_it_is_given_as_the_first_process_of_a_container_leave_no_zombies(
    supervised: Callable[..., Supervised],
) -> None:
    supervisor = supervised("MakesOrphans", count=2, subreaper=True)
    workers = supervisor.comes("started", 2)
    supervisor.comes("orphan", 2)

    def children() -> set[int]:
        return {child.pid for child in psutil.Process(supervisor.process.pid).children()}

    until(lambda: children() == set(workers), "only the workers are its children")


# -------------------------------------------------------------------------------------------------------- what it says


def test_a_worker_that_hangs_is_named_and_the_others_keep_it_ready(supervised: Callable[..., Supervised]) -> None:
    supervisor = supervised("Works", count=2)
    pids = supervisor.comes("started", 2)
    before = supervisor.told(lambda status, said: status == 200 and said["ready"] == 2)

    os.kill(pids[0], signal.SIGSTOP)
    said = supervisor.told(lambda status, said: status == 200 and said["ready"] == 1)
    os.kill(pids[0], signal.SIGCONT)

    assert (before["ok"], before["running"], before["capacity"]) == (True, 2, 20)
    assert (said["ok"], said["running"], said["capacity"]) == (True, 1, 10)
    assert {worker["pid"]: worker["state"] for worker in said["workers"]} == {pids[0]: "silent", pids[1]: "running"}


def test_a_worker_that_is_awaited_again_takes_nothing_out_of_service(supervised: Callable[..., Supervised]) -> None:
    supervisor = supervised("OneVanishes", count=2)
    until(lambda: supervisor.lines("worker.die"), "one has vanished")

    said = supervisor.told(lambda status, said: status == 200)

    assert sorted(worker["restarts"] for worker in said["workers"]) == [0, 1]


def test_until_each_has_worked_once_all_are_not_ready(supervised: Callable[..., Supervised]) -> None:
    supervisor = supervised("OneHasNotBegun", count=2)
    supervisor.comes("attends", 1)

    said = supervisor.told(lambda status, said: said["ready"] == 2)

    assert said["ok"] is False


def test_one_that_drains_is_not_ready(supervised: Callable[..., Supervised]) -> None:
    supervisor = supervised("LeavesOnlyAtOnce", count=2)
    supervisor.comes("started", 2)

    supervisor.process.terminate()
    supervisor.comes("drain", 2)
    status, said = supervisor.ready()

    assert (status, said["draining"]) == (503, True)
