"""Jobs in processes of their own: the same outcomes as elsewhere, and what only a process survives."""

import asyncio
import json
import os
import socket
import subprocess
import sys
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import process_jobs
import pytest
import structlog
from runs import SECONDS, make_claimed
from structlog.testing import capture_logs

from jobservice import AbstractJob
from jobservice.domain.outcomes import Aborted, Failed, HandedBack, Outcome, Retried, Succeeded
from jobservice.pool.in_flight import InFlight
from jobservice.pool.pool import Pool
from jobservice.pool.process_executor import ProcessExecutor
from jobservice.pool.run import Run
from jobservice.pool.workspace import Workspaces
from jobservice.sdk.registry import Registry
from jobservice.testing.stages import in_a_stage

LOG = structlog.get_logger()


@dataclass
class Told:
    """Keeps what runs report, in order."""

    reports: list[object] = field(default_factory=list)
    ended: asyncio.Queue[Outcome] = field(default_factory=asyncio.Queue)

    def start(self, run: Run) -> None:
        self.reports.append("start")

    def finish(self, run: Run, outcome: Outcome) -> None:
        self.reports.append(outcome)
        self.ended.put_nowait(outcome)


@dataclass
class Bench:
    """A real pool of four slots and up to two processes."""

    directory: Path
    told: Told = field(default_factory=Told)
    processes: ProcessExecutor = field(default_factory=lambda: ProcessExecutor(2))
    stop_grace: float = SECONDS

    def __post_init__(self) -> None:
        async def unknown_class(run: Run) -> Outcome:
            raise AssertionError

        self.pool = Pool(
            capacity=4,
            in_flight=InFlight(log=LOG, released=lambda key: None),
            registry=Registry.load(["process_jobs"]),
            executors={"process": self.processes},
            workspaces=Workspaces(self.directory / "workspaces", LOG),
            reports=self.told,
            unknown_class=unknown_class,
            slot_freed=lambda: None,
            stop_grace=self.stop_grace,
            log=LOG,
        )

    def start(self, job_class: type[AbstractJob], parameters: str = "{}", **changes: Any) -> Run:
        claimed = make_claimed(job_class=job_class.__name__, parameters=parameters)
        self.pool.start(replace(claimed, **{"attempt": 1, "max_attempts": None, **changes}), None)
        return list(self.pool._tasks.values())[-1].run

    async def ended(self) -> Outcome:
        return await asyncio.wait_for(self.told.ended.get(), SECONDS)

    async def outcome_of(self, job_class: type[AbstractJob], parameters: str = "{}", **changes: Any) -> Any:
        self.start(job_class, parameters, **changes)
        return await self.ended()


@pytest.fixture
async def bench(tmp_path: Path) -> AsyncIterator[Bench]:
    bench = Bench(tmp_path)
    yield bench
    await bench.processes.close()


async def there(path: Path) -> str:
    """The contents of a file that a job writes, once it has."""
    async with asyncio.timeout(SECONDS):
        while not path.exists() or (path.name == "pid" and not path.read_text()):
            await asyncio.sleep(0.002)
    return path.read_text()


def given(path: Path) -> str:
    return f'{{"marker": "{path}"}}'


async def test_a_job_runs_in_another_process_and_knows_what_it_is(bench: Bench) -> None:
    run = bench.start(process_jobs.WhoAmI)
    outcome = await bench.ended()

    assert isinstance(outcome, Succeeded)
    assert bench.told.reports[0] == "start"
    assert f'"job_id":"{run.job_id}"' in (outcome.result or "")
    assert f'"pid":{os.getpid()}' not in (outcome.result or "")


async def test_an_async_job_too_with_its_parameters(bench: Bench) -> None:
    assert await bench.outcome_of(process_jobs.Add, '{"a": 41}') == Succeeded("42", "int")


async def test_a_process_is_used_again(bench: Bench) -> None:
    outcomes = [await bench.outcome_of(process_jobs.WhoAmI) for _ in range(3)]

    assert len({outcome.result.split(",")[0] for outcome in outcomes}) == 1
    assert len(bench.processes.pids) == 1


async def test_progress_and_log_lines_cross_the_border(bench: Bench) -> None:
    with capture_logs() as logs:
        run = bench.start(process_jobs.Counts)
        await bench.ended()

    shown = run.progress.snapshot()
    assert (shown.done, shown.total, shown.percent, shown.message) == (3, 4, 75, "three of four")
    lines = [entry for entry in logs if entry["event"] == "counts.tick"]
    assert [line["n"] for line in lines] == [0, 1, 2]
    assert {line["job_id"] for line in lines} == {str(run.job_id)}


async def test_steps_and_the_free_object_cross_it_and_end_with_the_run(bench: Bench) -> None:
    run = bench.start(process_jobs.Steps)
    await bench.ended()

    assert run.progress.info is not None
    told = json.loads(run.progress.info.text(run.started_at))
    assert told["n"] == 2**70
    assert {name: step["status"] for name, step in told["steps"].items()} == {"download": "done", "unpack": "done"}
    assert 0 <= told["steps"]["download"]["at"] <= told["steps"]["unpack"]["at"]


async def test_a_large_stage_crosses_it_too_and_its_changes_come_back(bench: Bench) -> None:
    data = {"size": 2**70, "large": "é" * 1_000_000}
    claimed = make_claimed(job_class="OfAStage", parameters='{"size": {"$stage": "size"}}')
    claimed = in_a_stage(claimed, data, {"bucket": "maps"})

    outcome = await bench.outcome_of(process_jobs.OfAStage, claimed.parameters, card=claimed.card, stage=claimed.stage)

    assert isinstance(outcome, Succeeded)
    assert json.loads(outcome.result or "") == [2**70, data, {"bucket": "maps"}]
    assert '"increment":"n","by":2' in (outcome.stage_changes or "")


async def test_errors_retries_and_next_jobs_are_told_as_by_any_job(bench: Bench) -> None:
    failed = await bench.outcome_of(process_jobs.Raises, attempt=2)
    retried = await bench.outcome_of(process_jobs.Raises)
    asked = await bench.outcome_of(process_jobs.Raises, '{"again": true}')
    follows = await bench.outcome_of(process_jobs.Follows)

    assert (failed.error_type, failed.message) == ("OSError", "no route")
    assert "process_jobs.py" in failed.stack_trace
    assert isinstance(retried, Retried)
    assert (retried.delay, retried.failed.message) == (3.0, "no route")
    assert asked.delay == 8.0
    assert '"job_class":"Add"' in follows.next_jobs


async def test_the_workspace_is_the_daemons_and_is_removed(bench: Bench) -> None:
    outcome = await bench.outcome_of(process_jobs.Files)

    assert isinstance(outcome, Succeeded)
    assert (outcome.result or "").startswith(f'"{bench.directory}')
    async with asyncio.timeout(SECONDS):
        while bench.pool.running:
            await asyncio.sleep(0.001)
    assert list((bench.directory / "workspaces").iterdir()) == []


@pytest.mark.parametrize(("job_class", "parameters"), [("BadStart", "{}"), ("Add", "{}"), ("Add", '{"a": "x"}')])
async def test_what_cannot_be_prepared_fails_without_a_start(bench: Bench, job_class: str, parameters: str) -> None:
    outcome = await bench.outcome_of(getattr(process_jobs, job_class), parameters)

    assert isinstance(outcome, Failed)
    assert bench.told.reports == [outcome]


@pytest.mark.parametrize(
    ("how", "said"),
    [
        ("exit", "exit status 3"),
        ("kill", "SIGKILL in the middle of the job, perhaps for lack"),
        ("segfault", "SIGSEGV"),
    ],
)
async def test_a_process_that_dies_fails_its_job_and_says_how_and_the_next_job_runs(
    bench: Bench, how: str, said: str
) -> None:
    outcome = await bench.outcome_of(process_jobs.Dies, f'{{"how": "{how}"}}')
    after = await bench.outcome_of(process_jobs.Add, '{"a": 1}')

    assert isinstance(outcome, Failed)
    assert outcome.error_type.endswith("JobProcessDied")
    assert said in outcome.message
    assert after == Succeeded("2", "int")


async def test_an_exit_by_exception_ends_the_job_and_not_the_process(bench: Bench) -> None:
    outcome = await bench.outcome_of(process_jobs.Dies, '{"how": "sys.exit"}')

    assert (outcome.error_type, len(bench.processes.pids)) == ("SystemExit", 1)


@pytest.mark.parametrize("job_class", [process_jobs.Patient, process_jobs.AsyncPatient])
async def test_a_stop_crosses_the_border(bench: Bench, job_class: type[AbstractJob]) -> None:
    run = bench.start(job_class, given(bench.directory / "begun"))
    await there(bench.directory / "begun")

    run.request_stop("by the user")

    assert await bench.ended() == Aborted("by the user")
    assert len(bench.processes.pids) == 1, "the process lives on"


async def test_a_stop_right_behind_its_job_is_heard(bench: Bench) -> None:
    await bench.outcome_of(process_jobs.Add, '{"a": 1}')  # the process is there: both go in one write
    for n in range(20):
        run = bench.start(process_jobs.Patient, given(bench.directory / f"begun{n}"))
        while run._executed is None or run._executed.job.process is None:
            await asyncio.sleep(0)
        run.request_stop("by the user")
        assert await bench.ended() == Aborted("by the user")


async def test_a_timeout_crosses_it_too_and_is_told_as_one(bench: Bench) -> None:
    outcome = await bench.outcome_of(process_jobs.Patient, given(bench.directory / "begun"), timeout=0.05)

    assert isinstance(outcome, Failed)
    assert outcome.error_type.endswith("JobTimeout")


async def test_a_job_that_does_not_hear_is_killed_after_the_grace_and_leaves_nothing_stuck(tmp_path: Path) -> None:
    bench = Bench(tmp_path, stop_grace=0.05)
    run = bench.start(process_jobs.Deaf, given(tmp_path / "pid"))
    pid = int(await there(tmp_path / "pid"))

    run.request_stop("by the user")
    outcome = await bench.ended()
    after = await bench.outcome_of(process_jobs.Add, '{"a": 1}')
    await bench.processes.close()

    assert isinstance(outcome, Aborted)
    assert outcome.reason.startswith("by the user")
    assert after == Succeeded("2", "int")
    assert bench.pool.stuck == 0
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)


@pytest.mark.parametrize(("verb", "told"), [("hand_back", [HandedBack]), ("abandon", [])])
async def test_a_drain_and_a_loss_end_the_process(bench: Bench, verb: str, told: list[type], until: "Until") -> None:
    run = bench.start(process_jobs.Deaf, given(bench.directory / "pid"))
    await there(bench.directory / "pid")

    getattr(run, verb)()
    await until(lambda: bench.pool.running == 0)

    assert [type(report) for report in bench.told.reports[1:]] == told
    assert bench.processes.pids == []


async def test_more_jobs_than_processes_wait_unstarted_and_a_stop_reaches_them(bench: Bench) -> None:
    running = [bench.start(process_jobs.Patient, given(bench.directory / f"begun{n}")) for n in range(2)]
    for n in range(2):
        await there(bench.directory / f"begun{n}")
    waiting = [bench.start(process_jobs.Add, '{"a": 1}') for _ in range(2)]
    await asyncio.sleep(0)

    waiting[0].request_stop("not wanted")
    stopped = await bench.ended()
    started = bench.told.reports.count("start")
    running[0].request_stop("enough")
    outcomes = [await bench.ended(), await bench.ended()]
    running[1].request_stop("enough")
    await bench.ended()

    assert (stopped, started) == (Aborted("not wanted"), 2)
    assert outcomes == [Aborted("enough"), Succeeded("2", "int")]


async def test_of_what_is_kept_back_a_job_without_a_process_is_handed_back_and_one_that_has_got_it_goes_on(
    bench: Bench,
) -> None:
    markers = [bench.directory / f"begun{n}" for n in range(2)]
    having = [bench.start(process_jobs.Patient, given(marker)) for marker in markers]
    async with asyncio.timeout(SECONDS):
        while len(bench.processes.pids) < 2:
            await asyncio.sleep(0)
    waiting = bench.start(process_jobs.Add, '{"a": 1}')
    await asyncio.sleep(0)

    for run in (*having, waiting):
        run.keep_back("not now")
    kept = await bench.ended()
    for run, marker in zip(having, markers, strict=True):
        await there(marker)
        run.request_stop("enough")

    assert kept == HandedBack("not now")
    assert [await bench.ended(), await bench.ended()] == [Aborted("enough")] * 2


async def test_a_job_that_closes_stdout_forks_and_leaves_a_thread_harms_nobody(bench: Bench) -> None:
    outcomes = [await bench.outcome_of(process_jobs.Messy) for _ in range(2)]
    outcomes.append(await bench.outcome_of(process_jobs.Add, '{"a": 1}'))

    assert outcomes[-1] == Succeeded("2", "int")
    assert outcomes[0] == Succeeded('"done"', "str")


async def test_closing_ends_every_process(bench: Bench) -> None:
    await bench.outcome_of(process_jobs.Add, '{"a": 1}')
    (pid,) = bench.processes.pids

    await bench.processes.close()

    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)


def test_a_process_whose_daemon_was_gone_before_its_first_word_ends_without_a_word() -> None:
    ours, theirs = socket.socketpair()
    ours.close()
    command = [sys.executable, "-m", "jobservice.pool.job_process", str(theirs.fileno())]

    with theirs:
        ended = subprocess.run(command, pass_fds=[theirs.fileno()], capture_output=True, timeout=60, check=False)

    assert (ended.returncode, ended.stderr) == (0, b"")


async def test_a_process_ends_by_itself_when_its_daemon_is_gone(bench: Bench) -> None:
    bench.start(process_jobs.Deaf, given(bench.directory / "pid"))
    await there(bench.directory / "pid")
    (process,) = bench.processes._busy

    process.channel.close()

    assert await asyncio.wait_for(process.process.wait(), SECONDS) == 0


Until = Callable[[Callable[[], bool]], Any]


@pytest.fixture
def until() -> Until:
    async def wait(holds: Callable[[], bool]) -> None:
        async with asyncio.timeout(SECONDS):
            while not holds():
                await asyncio.sleep(0.001)

    return wait
