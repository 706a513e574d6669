"""One run, from its claim to its outcome: the same specification on every executor.

Each job class exists twice, as `async def` and as `def`; `on` picks the one that belongs to the executor.
"""

import asyncio
import gc
import json
import threading
import weakref
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import pytest
import structlog
from structlog.testing import capture_logs

from jobservice import AbstractJob, JobInfo
from jobservice.domain.claimed import ClaimedJob
from jobservice.domain.facts import JobCard
from jobservice.domain.outcomes import Aborted, Failed, HandedBack, Outcome, Succeeded
from jobservice.pool.executors import AsyncioExecutor, ThreadExecutor
from jobservice.pool.run import Run
from jobservice.pool.workspace import Workspaces
from jobservice.sdk.registry import Registry

SECONDS = 20
"""How long anything here is waited for at most."""

Body = Callable[[AbstractJob], object]


@dataclass
class Reports:
    """Keeps what a run reports, in order."""

    told: list[object] = field(default_factory=list)
    started: asyncio.Event = field(default_factory=asyncio.Event)

    def start(self, run: Run) -> None:
        self.told.append("start")
        self.started.set()

    def finish(self, run: Run, outcome: Outcome) -> None:
        self.told.append(outcome)


@dataclass
class Pool:
    """Runs jobs as the daemon's pool does, and keeps what they report."""

    executor: str
    directory: Path
    reports: Reports = field(default_factory=Reports)
    unknown: Outcome | Exception = field(default_factory=lambda: HandedBack("unknown here"))
    threads: ThreadExecutor = field(default_factory=lambda: ThreadExecutor(2))

    def job(self, body: Body, **attributes: Any) -> type[AbstractJob]:
        """A class named Work whose `run` does `body`, in the manner of this executor."""

        def on_a_thread(self: AbstractJob) -> object:
            return body(self)

        async def on_the_loop(self: AbstractJob) -> object:
            return body(self)

        run = on_a_thread if self.executor == "thread" else on_the_loop
        return type("Work", (AbstractJob,), {"run": run, **attributes})

    def run_of(self, *classes: type[AbstractJob], **claimed: Any) -> Run:
        async def unknown_class(run: Run) -> Outcome:
            if isinstance(self.unknown, Exception):
                raise self.unknown
            return self.unknown

        log = structlog.get_logger()
        return Run(
            claimed=make_claimed(**claimed),
            registry=Registry.of(*classes),
            executors={"asyncio": AsyncioExecutor(), "thread": self.threads},
            workspaces=Workspaces(self.directory, log),
            reports=self.reports,
            log=log,
            unknown_class=unknown_class,
        )

    async def told_by(self, *classes: type[AbstractJob], **claimed: Any) -> list[object]:
        """What a run of the first class, to its end, reports."""
        await asyncio.wait_for(self.run_of(*classes, **claimed).execute(), SECONDS)
        return self.reports.told

    async def outcome_of(self, body: Body, **claimed: Any) -> Any:
        return (await self.told_by(self.job(body), **claimed))[-1]


def make_claimed(*, parameters: str = "{}", expired: bool = False, job_class: str = "Work", **card: Any) -> ClaimedJob:
    return ClaimedJob(
        card=JobCard(job_id=uuid4(), tenant="acme", queue="default", job_class=job_class, **card),
        run=3,
        attempt=2,
        max_attempts=2,
        sequence=7,
        priority=50,
        parameters=parameters,
        expired=expired,
        timeout=None,
        user_metadata='{"parent": 1}',
        created_date=datetime(2030, 1, 1, tzinfo=UTC),
    )


@pytest.fixture(params=["asyncio", "thread"])
async def pool(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Pool]:
    pool = Pool(executor=request.param, directory=tmp_path / "workspaces")
    yield pool
    pool.threads.close()


@pytest.fixture
async def loop_pool(tmp_path: Path) -> Pool:
    return Pool(executor="asyncio", directory=tmp_path / "workspaces")


def raising(error: BaseException) -> Body:
    def body(job: AbstractJob) -> object:
        raise error

    return body


# Preparation: whatever is wrong, it ends before the start.


async def test_a_job_that_returns_has_succeeded_with_its_result(pool: Pool) -> None:
    told = await pool.told_by(pool.job(lambda job: {"n": 2**70}))

    assert told == ["start", Succeeded(result='{"n":1180591620717411303424}', result_class="dict")]


async def test_an_expired_job_fails_before_its_class_is_looked_up(pool: Pool) -> None:
    told = await pool.told_by(expired=True, job_class="NobodyKnows")

    assert [type(each) for each in told] == [Failed]
    assert isinstance(told[0], Failed)
    assert told[0].message == "Expiration date reached"


@pytest.mark.parametrize("decided", [HandedBack("known elsewhere"), Failed("UnknownClass", "nobody knows it")])
async def test_what_becomes_of_an_unknown_class_is_decided_elsewhere(pool: Pool, decided: Outcome) -> None:
    pool.unknown = decided

    assert await pool.told_by() == [decided]


async def test_an_error_while_deciding_about_an_unknown_class_fails_the_job(pool: Pool) -> None:
    pool.unknown = OSError("the database is away")

    (outcome,) = await pool.told_by()

    assert isinstance(outcome, Failed)
    assert "the database is away" in outcome.message


@pytest.mark.parametrize("parameters", ['{"unknown": 1}', "[]", "{", '"text"'])
async def test_wrong_parameters_fail_a_job_that_never_starts(pool: Pool, parameters: str) -> None:
    (outcome,) = await pool.told_by(pool.job(lambda job: None), parameters=parameters)

    assert isinstance(outcome, Failed)
    assert outcome.error_type.endswith("JobParameterInvalid")


@pytest.mark.parametrize("error", [ValueError("no"), SystemExit(3), KeyboardInterrupt(), asyncio.CancelledError()])
async def test_an_error_of_any_type_in_the_preparation_fails_a_job_that_never_starts(
    pool: Pool, error: BaseException
) -> None:
    def construct(self: AbstractJob) -> None:
        raise error

    (outcome,) = await pool.told_by(pool.job(lambda job: None, __init__=construct))

    assert isinstance(outcome, Failed)
    assert outcome.error_type.endswith(type(error).__name__)


async def test_a_workspace_that_cannot_be_made_fails_a_job_that_never_starts(pool: Pool) -> None:
    pool.directory.write_text("a file is in the way")

    (outcome,) = await pool.told_by(pool.job(lambda job: None, needs_workspace=True))

    assert isinstance(outcome, Failed)
    assert "workspaces" in outcome.message


# What a job raises.


@pytest.mark.parametrize(
    "error",
    [
        ValueError("broken"),
        SystemExit(1),
        KeyboardInterrupt("broken"),
        GeneratorExit(),
        asyncio.CancelledError(),
        BaseException("broken"),
        ExceptionGroup("several", [ValueError("a")]),
    ],
)
async def test_a_job_that_raises_anything_has_failed(pool: Pool, error: BaseException) -> None:
    told = await pool.told_by(pool.job(raising(error)))

    assert told[0] == "start"
    assert isinstance(told[1], Failed)
    assert told[1].error_type == type(error).__name__ or told[1].error_type.endswith(f".{type(error).__name__}")
    assert told[1].message


async def test_stop_iteration_fails_the_job_too(pool: Pool) -> None:
    assert isinstance(await pool.outcome_of(raising(StopIteration())), Failed)


async def test_the_stack_trace_starts_in_the_job(pool: Pool) -> None:
    outcome = await pool.outcome_of(raising(ValueError("broken")))

    assert outcome.stack_trace.endswith("ValueError: broken\n")
    first_frame = outcome.stack_trace.splitlines()[1]
    assert __file__ in first_frame
    assert "jobservice/pool" not in outcome.stack_trace


async def test_an_error_that_cannot_be_stored_is_cleaned(pool: Pool) -> None:
    outcome = await pool.outcome_of(raising(OSError("caf\udce9\x00" + "x" * 100_000)))

    assert "\x00" not in outcome.message + outcome.stack_trace
    assert len(outcome.message.encode()) < 11_000
    assert len(outcome.stack_trace.encode()) < 51_000


async def test_an_error_without_a_text_of_its_own_can_be_told(pool: Pool) -> None:
    class Mute(Exception):
        def __str__(self) -> str:
            raise RuntimeError("no text")

    outcome = await pool.outcome_of(raising(Mute()))

    assert outcome.error_type.endswith("Mute")
    assert outcome.message


async def test_endless_recursion_fails_the_job(pool: Pool) -> None:
    def deeper(job: AbstractJob) -> object:
        return deeper(job)

    outcome = await pool.outcome_of(deeper)

    assert outcome.error_type == "RecursionError"


@pytest.mark.parametrize("result", [float("nan"), "a\x00", object(), "\ud800"])
async def test_a_result_that_cannot_be_stored_fails_the_job(pool: Pool, result: object) -> None:
    outcome = await pool.outcome_of(lambda job: result)

    assert outcome.error_type.endswith("ResultNotEncodable")


async def test_a_job_that_aborts_itself_is_aborted_with_its_reason(pool: Pool) -> None:
    assert await pool.outcome_of(lambda job: job.abort("nothing to do")) == Aborted("nothing to do")


# Stopping.


async def test_a_stop_before_the_start_prevents_it(pool: Pool) -> None:
    run = pool.run_of(pool.job(lambda job: None))
    run.request_stop("by the user")

    await run.execute()

    assert pool.reports.told == [Aborted("by the user")]
    assert run.ended


async def test_a_stop_while_the_class_is_unknown_aborts(loop_pool: Pool) -> None:
    asked, decide = asyncio.Event(), asyncio.Event()
    run = loop_pool.run_of()

    async def unknown_class(run: Run) -> Outcome:
        asked.set()
        await decide.wait()
        return HandedBack("known elsewhere")

    run._unknown_class = unknown_class
    executing = asyncio.create_task(run.execute())
    await asked.wait()
    run.request_stop("by the user")
    decide.set()
    await executing

    assert loop_pool.reports.told == [Aborted("by the user")]


def ticking(job: AbstractJob) -> object:
    """A thread that works until it is stopped."""
    pause = threading.Event()
    while not pause.wait(0.001):
        job.advance_completion()
    return None


async def stopped_while_running(pool: Pool, job: type[AbstractJob], verb: str) -> Run:
    run = pool.run_of(job)
    executing = asyncio.create_task(run.execute())
    await asyncio.wait_for(pool.reports.started.wait(), SECONDS)
    await asyncio.sleep(0)  # the loop's turn: the job waits inside its own await now
    getattr(run, verb)(*["by the user"] if verb == "request_stop" else [])
    await asyncio.wait_for(executing, SECONDS)
    return run


def endless(pool: Pool) -> type[AbstractJob]:
    async def waits(self: AbstractJob) -> None:
        await asyncio.Event().wait()

    return pool.job(ticking) if pool.executor == "thread" else pool.job(ticking, run=waits)


async def test_a_running_job_that_is_stopped_is_aborted(pool: Pool) -> None:
    run = await stopped_while_running(pool, endless(pool), "request_stop")

    assert pool.reports.told == ["start", Aborted("by the user")]
    assert run.ended


async def test_a_running_job_that_is_handed_back_says_so(pool: Pool) -> None:
    await stopped_while_running(pool, endless(pool), "hand_back")

    assert pool.reports.told[0] == "start"
    assert isinstance(pool.reports.told[1], HandedBack)


async def test_a_run_that_is_abandoned_reports_nothing_more(pool: Pool) -> None:
    run = await stopped_while_running(pool, endless(pool), "abandon")

    assert pool.reports.told == ["start"]
    assert run.ended


@pytest.mark.parametrize("verb", ["abandon", "hand_back"])
async def test_leaving_before_the_start_prevents_it(pool: Pool, verb: str) -> None:
    run = pool.run_of(pool.job(lambda job: None))
    getattr(run, verb)()

    await run.execute()

    assert "start" not in pool.reports.told
    assert [type(each) for each in pool.reports.told] == ([HandedBack] if verb == "hand_back" else [])


async def test_a_thread_that_sees_nothing_is_handed_back_and_left_behind(tmp_path: Path) -> None:
    pool, free = Pool(executor="thread", directory=tmp_path), threading.Event()

    await stopped_while_running(pool, pool.job(lambda job: free.wait(SECONDS)), "hand_back")

    assert isinstance(pool.reports.told[-1], HandedBack)
    free.set()


@pytest.mark.parametrize(("verb", "told"), [("request_stop", [Aborted("by the user")]), ("abandon", [])])
async def test_a_thread_that_is_to_end_is_waited_for(tmp_path: Path, verb: str, told: list[object]) -> None:
    pool, free = Pool(executor="thread", directory=tmp_path), threading.Event()
    run = pool.run_of(pool.job(lambda job: (free.wait(SECONDS), job.raise_if_stopped())))
    executing = asyncio.create_task(run.execute())
    await pool.reports.started.wait()

    getattr(run, verb)(*["by the user"] if verb == "request_stop" else [])
    done, _ = await asyncio.wait({executing}, timeout=0.05)
    assert not done
    free.set()
    await asyncio.wait_for(executing, SECONDS)

    assert pool.reports.told == ["start", *told]


async def test_a_job_that_swallows_its_stop_and_returns_has_succeeded(loop_pool: Pool) -> None:
    async def swallows(self: AbstractJob) -> str:
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            return "done all the same"
        return ""

    await stopped_while_running(loop_pool, loop_pool.job(ticking, run=swallows), "request_stop")

    assert loop_pool.reports.told[-1] == Succeeded(result='"done all the same"', result_class="str")


@pytest.mark.parametrize(("verb", "ending"), [("request_stop", Aborted), ("hand_back", HandedBack)])
async def test_an_error_while_ending_is_logged_and_does_not_make_it_a_failure(
    loop_pool: Pool, verb: str, ending: type
) -> None:
    async def breaks(self: AbstractJob) -> None:
        try:
            await asyncio.Event().wait()
        finally:
            raise OSError("connection lost")

    with capture_logs() as lines:
        await stopped_while_running(loop_pool, loop_pool.job(ticking, run=breaks), verb)

    assert type(loop_pool.reports.told[-1]) is ending
    assert [line["message"] for line in lines if "message" in line] == ["connection lost"]


async def test_a_stop_that_a_task_group_meets_is_an_abort(loop_pool: Pool) -> None:
    async def many(self: AbstractJob) -> None:
        async def one() -> None:
            while True:
                self.advance_completion()
                await asyncio.sleep(0)

        async with asyncio.TaskGroup() as group:
            group.create_task(one())
            group.create_task(one())

    await stopped_while_running(loop_pool, loop_pool.job(ticking, run=many), "request_stop")

    assert loop_pool.reports.told[-1] == Aborted("by the user")


async def test_a_stop_from_inside_that_the_job_never_meets_leaves_the_task_in_order(loop_pool: Pool) -> None:
    runs: list[Run] = []

    async def returns(self: AbstractJob) -> None:
        runs[0].request_stop("late")

    runs.append(loop_pool.run_of(loop_pool.job(ticking, run=returns)))
    executing = asyncio.create_task(runs[0].execute())
    await asyncio.wait({executing})

    assert not executing.cancelled()
    assert loop_pool.reports.told == ["start", Succeeded()]


async def test_the_first_stop_reason_stands_and_one_after_the_end_changes_nothing(pool: Pool) -> None:
    run = pool.run_of(pool.job(lambda job: None))
    run.request_stop("first")
    run.request_stop("second")
    await run.execute()
    run.request_stop("third")

    assert run.stop_reason == "first"
    assert pool.reports.told == [Aborted("first")]


async def test_a_cancel_by_the_pool_passes_and_reports_no_end(pool: Pool) -> None:
    run = pool.run_of(endless(pool))
    executing = asyncio.create_task(run.execute())
    await asyncio.wait_for(pool.reports.started.wait(), SECONDS)

    executing.cancel()
    await asyncio.wait({executing}, timeout=SECONDS)

    assert executing.cancelled()
    assert pool.reports.told == ["start"]
    run.abandon()
    run._ending.stop_reason = "let the thread go"


async def test_a_cancel_by_the_pool_passes_after_a_stop_too(loop_pool: Pool) -> None:
    run = loop_pool.run_of(endless(loop_pool))
    executing = asyncio.create_task(run.execute())
    await loop_pool.reports.started.wait()

    run.request_stop("by the user")
    executing.cancel()
    await asyncio.wait({executing}, timeout=SECONDS)

    assert executing.cancelled()
    assert loop_pool.reports.told == ["start"]


# What a job sees.


async def test_a_job_sees_its_info_as_claimed(pool: Pool) -> None:
    seen: list[JobInfo] = []
    await pool.outcome_of(lambda job: seen.append(job.info), owner="ann", correlation_id="c1")

    info = seen[0]
    assert (info.job_class, info.tenant, info.owner, info.correlation_id) == ("Work", "acme", "ann", "c1")
    assert (info.run, info.attempt, info.priority, info.status) == (3, 2, 50, "RUNNING")
    assert info.user_metadata == {"parent": 1}


async def test_the_log_of_a_job_is_bound_to_its_ids(pool: Pool) -> None:
    with capture_logs() as lines:
        await pool.outcome_of(lambda job: job.log.info("seen", n=1), correlation_id="c1")

    assert UUID(lines[0].pop("job_id"))
    assert lines == [
        {
            "event": "seen",
            "log_level": "info",
            "n": 1,
            "run": 3,
            "tenant": "acme",
            "queue": "default",
            "job_class": "Work",
            "correlation_id": "c1",
        }
    ]


async def test_what_the_pool_bound_to_the_context_is_seen_by_the_job(pool: Pool) -> None:
    seen: list[object] = []
    with structlog.contextvars.bound_contextvars(daemon="d1"):
        await pool.outcome_of(lambda job: seen.append(structlog.contextvars.get_contextvars()))

    assert seen == [{"daemon": "d1"}]


async def test_ticks_become_progress(pool: Pool) -> None:
    def four_files(job: AbstractJob) -> None:
        job.completion_count = 4
        job.advance_completion()
        job.advance_completion(2)

    run = pool.run_of(pool.job(four_files))
    await run.execute()

    taken = run.progress.take()
    assert taken is not None
    assert (taken.done, taken.total, taken.percent) == (3, 4, 75)
    remaining = run.estimated_completion_seconds()
    assert remaining is not None
    assert remaining >= 0


async def test_nothing_is_estimated_before_the_start(pool: Pool) -> None:
    assert pool.run_of(pool.job(lambda job: None)).estimated_completion_seconds() is None


async def test_a_workspace_is_private_and_gone_afterwards(pool: Pool) -> None:
    seen: list[Path] = []

    def writes(job: AbstractJob) -> None:
        seen.append(job.workspace)
        assert job.workspace.stat().st_mode & 0o777 == 0o700
        (job.workspace / "sub").mkdir()
        (job.workspace / "sub" / "a").write_text("a")

    told = await pool.told_by(pool.job(writes, needs_workspace=True))

    assert told == ["start", Succeeded()]
    assert list(pool.directory.iterdir()) == []
    assert len(seen) == 1


async def test_a_job_that_asks_for_a_workspace_it_did_not_declare_is_told_how(pool: Pool) -> None:
    outcome = await pool.outcome_of(lambda job: job.workspace)

    assert "needs_workspace = True" in outcome.message
    assert not pool.directory.exists()


async def test_next_jobs_go_with_the_success_and_carry_tenant_and_correlation(pool: Pool) -> None:
    def submits(job: AbstractJob) -> None:
        job.submit_next(JobInfo("Next", parameters={"n": 2**70}), JobInfo("Other", tenant="x", correlation_id="own"))

    outcome = await pool.outcome_of(submits, correlation_id="c1")

    assert json.loads(outcome.next_jobs) == [
        {"job_class": "Next", "parameters": {"n": 2**70}, "tenant": "acme", "correlation_id": "c1"},
        {"job_class": "Other", "tenant": "x", "correlation_id": "own"},
    ]


async def test_a_next_job_that_no_submission_can_carry_fails_the_job(pool: Pool) -> None:
    outcome = await pool.outcome_of(lambda job: job.submit_next(JobInfo("Next", parameters={"x": float("nan")})))

    assert outcome.error_type.endswith("InvalidSubmission")
    assert "parameters.x" in outcome.message


async def test_an_ended_run_is_gone_without_the_garbage_collection(loop_pool: Pool) -> None:
    jobs: list[weakref.ref[AbstractJob]] = []
    run = loop_pool.run_of(loop_pool.job(lambda job: jobs.append(weakref.ref(job))))

    gc.disable()
    try:
        await run.execute()
        del run
        left = jobs[0]()
    finally:
        gc.enable()

    assert left is None
