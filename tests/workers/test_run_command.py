"""RunCommand with real processes, and nothing of them left."""

import asyncio
import os
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import uvloop

from jobservice import JobStatus
from jobservice.testing import JobTestResult, arun_job, run_job
from workers import run_command
from workers.run_command import TAIL_BYTES, CommandReport, OutputTail, RunCommand, output_pipe

SECONDS = 20
FAMILY = """
import os, subprocess, sys, signal
if "stubborn" in sys.argv:
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
child = subprocess.Popen([sys.executable, "-c", sys.argv[1]] if len(sys.argv) > 1 else ["sleep", "1000"])
print(os.getpid(), child.pid, flush=True)
child.wait()
"""


def python(program: str, *arguments: str) -> list[str]:
    return [sys.executable, "-c", program, *arguments]


def report_of(told: JobTestResult) -> CommandReport:
    assert told.status == JobStatus.SUCCEEDED, told.error
    return told.result_as(CommandReport)


def run(*arguments: str, **parameters: Any) -> JobTestResult:
    return run_job(RunCommand, arguments=list(arguments), **parameters)


def is_alive(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_bytes().rpartition(b")")[2].split()[0]
    except FileNotFoundError:
        if Path("/proc/self").exists():
            return False
        try:
            os.kill(pid, 0)
        except ProcessLookupError:
            return False
        return True
    return state not in (b"Z", b"X")


def all_gone(pids: list[int]) -> bool:
    deadline = time.monotonic() + SECONDS
    while any(map(is_alive, pids)):
        if time.monotonic() > deadline:
            return False
    return True


def pids_in(told: JobTestResult) -> list[int]:
    """The process ids that the family printed on its first line."""
    pids = [int(word) for word in (told.progress.message or "").splitlines()[0].split()]
    assert len(pids) == 2
    return pids


def has_a_line(progress: Any) -> bool:
    return "\n" in (progress.message or "")


def test_output_and_exit_status_are_the_result() -> None:
    report = report_of(run(*python("import sys; print('out', flush=True); print('err', file=sys.stderr)")))

    assert report == CommandReport(exit_status=0, output="out\nerr\n", output_bytes=8)


def test_arguments_reach_the_program_without_a_shell() -> None:
    report = report_of(run(*python("import sys; print(sys.argv[1:])"), "$HOME", "a b", "*", ";"))

    assert report.output == "['$HOME', 'a b', '*', ';']\n"


def test_environment_and_directory_are_given_and_our_own_settings_are_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("JOBSERVICE_DATABASE_URL", "postgresql://user:secret@host/db")
    monkeypatch.setenv("ELSEWHERE", "kept")
    program = (
        "import os;"
        "print(os.getcwd(), os.environ['OWN'], os.environ['ELSEWHERE'], 'JOBSERVICE_DATABASE_URL' in os.environ)"
    )

    report = report_of(run(*python(program), environment={"OWN": "given"}, directory=tmp_path))

    assert report.output == f"{tmp_path} given kept False\n"


def test_stdin_is_empty() -> None:
    assert report_of(run(*python("import sys; print(repr(sys.stdin.read()))"))).output == "''\n"


def test_another_exit_status_fails_with_the_end_of_the_output() -> None:
    told = run(*python("print('the reason'); raise SystemExit(3)"))

    assert told.status == JobStatus.FAILED
    assert told.error_type == "workers.run_command.CommandFailed"
    assert told.error == "exit status 3\nthe reason\n"


def test_a_signal_that_ended_it_is_named() -> None:
    told = run(*python("import os, signal; os.kill(os.getpid(), signal.SIGKILL)"))

    assert (told.error or "").startswith("ended by SIGKILL")


@pytest.mark.parametrize("parameters", [{"arguments": []}, {"arguments": ["x"], "timeout": 0}, {"arguments": "ls"}, {}])
def test_parameters_that_mean_nothing_fail_before_the_start(parameters: dict[str, Any]) -> None:
    told = run_job(RunCommand, **parameters)

    assert (told.status, told.started) == (JobStatus.FAILED, False)


@pytest.mark.parametrize("on", [asyncio.run, uvloop.run])
def test_a_program_that_is_not_there_fails_naming_it(on: Callable[[Any], JobTestResult]) -> None:
    told = on(arun_job(RunCommand, arguments=["/no/such/program"]))

    assert (told.status, told.error_type) == (JobStatus.FAILED, "FileNotFoundError")
    assert "/no/such/program" in (told.error or "")


def test_a_directory_that_is_not_there_fails_naming_it(tmp_path: Path) -> None:
    told = run(*python(""), directory=tmp_path / "gone")

    assert (told.status, told.error_type) == (JobStatus.FAILED, "NotADirectoryError")
    assert "gone" in (told.error or "")


def test_no_descriptor_is_left_open() -> None:
    descriptors = Path("/dev/fd")
    before = len(list(descriptors.iterdir()))

    run(*python("print(1)"))
    run("/no/such/program")

    assert len(list(descriptors.iterdir())) == before


@pytest.mark.parametrize("on", [asyncio.run, uvloop.run])
def test_the_end_of_a_command_closes_no_descriptor_that_another_got_in_its_place(on: Callable[[Any], None]) -> None:
    async def end_one_and_begin_another() -> None:
        with output_pipe(lambda some: None):
            await asyncio.sleep(0)

        others = [*os.pipe(), *os.pipe()]
        for _ in range(5):
            await asyncio.sleep(0)

        for descriptor in others:
            os.fstat(descriptor)
            os.close(descriptor)

    on(end_one_and_begin_another())


def test_many_commands_at_once_each_give_all_of_their_output() -> None:
    async def rounds() -> list[JobTestResult]:
        return [
            told
            for _ in range(3)
            for told in await asyncio.gather(
                *(arun_job(RunCommand, arguments=["sh", "-c", f"echo begin; echo {n}"]) for n in range(20))
            )
        ]

    told = uvloop.run(rounds())

    assert [report_of(each).output for each in told] == [f"begin\n{n}\n" for n in range(20)] * 3


def test_bytes_that_are_not_text_can_be_stored() -> None:
    report = report_of(run(*python(r"import sys; sys.stdout.buffer.write(b'a\0b\xff\xe2\x82\xac')")))

    assert report.output == "a\\x00b\\xff€"


def test_of_a_long_output_the_end_is_kept_and_all_is_counted() -> None:
    report = report_of(run(*python("for n in range(200_000): print(n)")))

    assert report.output.endswith("199998\n199999\n")
    assert len(report.output) <= TAIL_BYTES
    assert report.output_bytes == len("".join(f"{n}\n" for n in range(200_000)))


def test_a_tail_that_begins_inside_a_character_begins_with_the_next() -> None:
    tail = OutputTail()

    tail.add(("€" * TAIL_BYTES).encode())

    assert set(tail.text) == {"€"}


def test_output_is_told_as_it_comes() -> None:
    told = run(*python("import time; print('begun', flush=True); time.sleep(1000)"), stop_when=has_a_line)

    assert told.status == JobStatus.ABORTED
    assert told.progress.message == "begun\n"


@pytest.mark.parametrize("on", [asyncio.run, uvloop.run])
def test_a_stop_ends_grandchildren_too(on: Callable[[Any], JobTestResult]) -> None:
    told = on(arun_job(RunCommand, arguments=python(FAMILY), stop_when=has_a_line))

    assert told.status == JobStatus.ABORTED
    assert all_gone(pids_in(told))


def test_who_ignores_the_request_to_end_is_killed_after_the_grace(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(run_command, "GRACE_SECONDS", 0.2)
    stubborn = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); time.sleep(1000)"

    told = run(*python(FAMILY, stubborn, "stubborn"), stop_when=has_a_line)

    assert told.status == JobStatus.ABORTED
    assert all_gone(pids_in(told))


def test_a_time_limit_ends_the_whole_group_and_fails() -> None:
    told = run("sh", "-c", "sleep 1000 & echo $$ $!; wait", timeout=2.0)

    assert told.status == JobStatus.FAILED
    assert (told.error or "").startswith("still running after 2 s\n")
    assert all_gone(pids_in(told))


def test_what_a_program_leaves_behind_in_its_group_is_ended_with_it() -> None:
    program = "import subprocess, os; print(os.getpid(), subprocess.Popen(['sleep', '1000']).pid)"

    told = run(*python(program))

    assert report_of(told).exit_status == 0
    assert all_gone(pids_in(told))


def test_a_program_that_left_the_group_with_the_pipe_does_not_hold_the_job() -> None:
    program = (
        "import subprocess, os;"
        "print(os.getpid(), subprocess.Popen(['sleep', '1000'], start_new_session=True).pid, flush=True)"
    )

    told = run(*python(program))

    assert report_of(told).exit_status == 0
    os.kill(pids_in(told)[1], 9)
