"""What follows a run that fails, takes too long, or does not end: over each executor."""

import asyncio
import threading
from collections.abc import AsyncIterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest
import structlog
from runs import SECONDS, Body, made_job, make_claimed
from structlog.testing import capture_logs

from jobservice import AbstractJob, Retry
from jobservice.domain.claimed import ClaimedJob
from jobservice.domain.outcomes import Aborted, Failed, HandedBack, Outcome, Retried, Succeeded
from jobservice.pool.executors import AsyncioExecutor, ThreadExecutor
from jobservice.pool.in_flight import InFlight
from jobservice.pool.pool import Pool
from jobservice.pool.run import Run
from jobservice.pool.workspace import Workspaces
from jobservice.sdk.registry import Registry
from jobservice.testing import run_job

LOG = structlog.get_logger()


@dataclass
class Told:
    """Keeps outcomes; `ended` is set by each."""

    outcomes: list[Outcome] = field(default_factory=list)
    started: asyncio.Event = field(default_factory=asyncio.Event)
    ended: asyncio.Event = field(default_factory=asyncio.Event)

    def start(self, run: Run) -> None:
        self.started.set()

    def finish(self, run: Run, outcome: Outcome) -> None:
        self.outcomes.append(outcome)
        self.ended.set()


@dataclass
class Bench:
    """A real pool of two slots, on one kind of executor."""

    executor: str
    directory: Path
    told: Told = field(default_factory=Told)
    threads: ThreadExecutor = field(default_factory=lambda: ThreadExecutor(1))
    freed: asyncio.Event = field(default_factory=asyncio.Event)
    let_go: threading.Event = field(default_factory=threading.Event)

    def job(self, body: Body, **attributes: Any) -> type[AbstractJob]:
        """A class named Work whose `run` does `body`, in the manner of this executor."""
        return made_job(self.executor, body, **attributes)

    def deaf(self, **attributes: Any) -> type[AbstractJob]:
        """A job that ignores every stop until the test lets it go."""
        let_go = self.let_go

        def on_a_thread(self: AbstractJob) -> str:
            let_go.wait(SECONDS)
            return "late"

        async def on_the_loop(self: AbstractJob) -> str:
            while not let_go.is_set():
                try:
                    await asyncio.sleep(0.002)
                except asyncio.CancelledError:
                    continue
            return "late"

        run = on_a_thread if self.executor == "thread" else on_the_loop
        return type("Work", (AbstractJob,), {"run": run, **attributes})

    def pool(self, job: type[AbstractJob], *, stop_grace: float = SECONDS) -> Pool:
        async def unknown_class(run: Run) -> Outcome:
            raise AssertionError

        return Pool(
            capacity=2,
            in_flight=InFlight(log=LOG, released=lambda key: None),
            registry=Registry.of(job),
            executors={"asyncio": AsyncioExecutor(), "thread": self.threads},
            workspaces=Workspaces(self.directory, LOG),
            reports=self.told,
            unknown_class=unknown_class,
            slot_freed=self.freed.set,
            stop_grace=stop_grace,
            log=LOG,
        )

    async def outcome_of(self, job: type[AbstractJob], **claimed: Any) -> Outcome:
        """Of one run to its end."""
        self.pool(job).start(first(**claimed), None)
        await asyncio.wait_for(self.freed.wait(), SECONDS)
        return self.told.outcomes[-1]


def first(**changes: Any) -> ClaimedJob:
    """A claimed job in its first attempt, of as many as the class says."""
    return replace(make_claimed(), **{"attempt": 1, "max_attempts": None, **changes})


@pytest.fixture(params=["asyncio", "thread"])
async def bench(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Bench]:
    bench = Bench(executor=request.param, directory=tmp_path)
    yield bench
    bench.let_go.set()
    bench.threads.close()


def raising(error: BaseException) -> Body:
    def body(job: AbstractJob) -> object:
        raise error

    return body


# Attempts.


async def test_a_failed_run_with_attempts_left_is_retried_after_the_back_off_with_its_error(bench: Bench) -> None:
    job = bench.job(raising(OSError("no route")), max_attempts=3, backoff=4)

    outcome = await bench.outcome_of(job)

    assert isinstance(outcome, Retried)
    assert (outcome.delay, outcome.failed.error_type, outcome.failed.message) == (4.0, "OSError", "no route")


async def test_the_last_attempt_fails_for_good(bench: Bench) -> None:
    job = bench.job(raising(OSError("no route")), max_attempts=3)

    assert isinstance(await bench.outcome_of(job, attempt=3), Failed)


async def test_the_jobs_own_number_of_attempts_goes_before_the_classs(bench: Bench) -> None:
    job = bench.job(raising(OSError()), max_attempts=3)

    assert isinstance(await bench.outcome_of(job, attempt=3, max_attempts=4), Retried)
    bench.freed.clear()
    assert isinstance(await bench.outcome_of(job, attempt=1, max_attempts=1), Failed)


async def test_a_class_that_says_nothing_is_not_retried(bench: Bench) -> None:
    assert isinstance(await bench.outcome_of(bench.job(raising(OSError()))), Failed)


async def test_a_job_that_asks_to_be_retried_says_when_and_why(bench: Bench) -> None:
    def body(job: AbstractJob) -> object:
        raise Retry(after=9) from ConnectionError("busy")

    outcome = await bench.outcome_of(bench.job(body, max_attempts=2, retry_on=()))

    assert isinstance(outcome, Retried)
    assert (outcome.delay, outcome.failed.error_type, outcome.failed.message) == (9.0, "ConnectionError", "busy")


async def test_a_wish_without_attempts_left_fails_with_its_reason(bench: Bench) -> None:
    outcome = await bench.outcome_of(bench.job(raising(Retry("not yet"))))

    assert isinstance(outcome, Failed)
    assert outcome.message == "not yet"


async def test_a_policy_that_breaks_fails_the_job_with_the_jobs_error_and_is_told(bench: Bench) -> None:
    def policy(attempt: int, error: BaseException) -> float:
        return 1 / 0

    job = bench.job(raising(OSError("no route")), max_attempts=2, backoff=policy)
    with capture_logs() as logs:
        outcome = await bench.outcome_of(job)

    assert isinstance(outcome, Failed)
    assert outcome.message == "no route"
    assert [entry["event"] for entry in logs].count("retry.refuse") == 1


async def test_a_result_that_cannot_be_stored_is_not_worked_out_again(bench: Bench) -> None:
    assert isinstance(await bench.outcome_of(bench.job(lambda job: object(), max_attempts=2)), Failed)


def test_a_tried_job_says_when_it_would_be_run_again() -> None:
    class Flaky(AbstractJob):
        max_attempts = 2
        backoff = 5

        async def run(self) -> None:
            raise OSError("no route")

    result = run_job(Flaky)

    assert (result.status, result.retry_after, result.error) == ("PENDING", 5.0, "no route")


@pytest.mark.parametrize(
    ("attribute", "value"), [("retry_on", ("ValueError",)), ("retry_on", 3), ("backoff", -1), ("backoff", "soon")]
)
def test_a_class_with_a_wrong_policy_is_refused_when_it_is_loaded(attribute: str, value: object) -> None:
    from jobservice.domain.errors import DefinitionError

    async def run(self: AbstractJob) -> None: ...

    with pytest.raises(DefinitionError, match=attribute):
        Registry.of(type("Work", (AbstractJob,), {"run": run, attribute: value}))


# Timeouts.


def patient(bench: Bench, **attributes: Any) -> type[AbstractJob]:
    """Works until it is asked to end."""

    def on_a_thread(self: AbstractJob) -> None:
        while not bench.let_go.wait(0.001):
            self.raise_if_stopped()

    async def on_the_loop(self: AbstractJob) -> None:
        await asyncio.Event().wait()

    run = on_a_thread if bench.executor == "thread" else on_the_loop
    return type("Work", (AbstractJob,), {"run": run, **attributes})


@pytest.mark.parametrize("by", ["class", "job"])
async def test_a_run_beyond_its_timeout_fails_and_names_it(bench: Bench, by: str) -> None:
    job = patient(bench, timeout=0.02 if by == "class" else None)

    outcome = await bench.outcome_of(job, timeout=0.02 if by == "job" else None)

    assert isinstance(outcome, Failed)
    assert outcome.error_type.endswith("JobTimeout")
    assert "0.02 s" in outcome.message


async def test_a_timeout_is_retried_like_any_error(bench: Bench) -> None:
    job = patient(bench, timeout=0.02, max_attempts=2, retry_on=(TimeoutError,), backoff=1)

    assert isinstance(await bench.outcome_of(job), Retried)


async def test_a_run_that_ends_in_time_is_not_touched_by_its_timeout(bench: Bench) -> None:
    assert isinstance(await bench.outcome_of(bench.job(lambda job: 1, timeout=60)), Succeeded)


async def test_a_stop_goes_before_a_timeout(bench: Bench) -> None:
    job = patient(bench, timeout=30)
    pool = bench.pool(job)
    pool.start(first(), None)
    await asyncio.wait_for(bench.told.started.wait(), SECONDS)
    (held,) = pool._tasks.values()

    held.run.request_stop("by the user")
    held.run._time_out()
    await asyncio.wait_for(bench.told.ended.wait(), SECONDS)

    assert bench.told.outcomes == [Aborted("by the user")]


# Runs that do not end.


async def begun(bench: Bench, pool: Pool) -> Run:
    bench.told.started.clear()
    bench.told.ended.clear()
    pool.start(first(), None)
    await asyncio.wait_for(bench.told.started.wait(), SECONDS)
    await asyncio.sleep(0)
    return list(pool._tasks.values())[-1].run


async def unstuck(pool: Pool) -> None:
    async with asyncio.timeout(SECONDS):
        while pool.stuck:
            await asyncio.sleep(0.001)


async def test_a_run_that_ignores_its_stop_is_given_up_and_its_slot_is_free(bench: Bench) -> None:
    pool = bench.pool(bench.deaf(), stop_grace=0.02)
    run = await begun(bench, pool)

    run.request_stop("by the user")
    await asyncio.wait_for(bench.told.ended.wait(), SECONDS)
    await asyncio.wait_for(bench.freed.wait(), SECONDS)

    (outcome,) = bench.told.outcomes
    assert isinstance(outcome, Aborted)
    assert outcome.reason.startswith("by the user; the run did not end within 0.02 s")
    assert (pool.free, pool.stuck) == (2, 1)


async def test_a_run_that_ignores_its_timeout_is_failed_and_not_retried_beside_itself(bench: Bench) -> None:
    pool = bench.pool(bench.deaf(timeout=0.02, max_attempts=5), stop_grace=0.02)
    await begun(bench, pool)

    await asyncio.wait_for(bench.told.ended.wait(), SECONDS)

    (outcome,) = bench.told.outcomes
    assert isinstance(outcome, Failed)
    assert "given up" in outcome.message


async def test_another_job_runs_where_one_is_stuck_and_the_late_end_of_that_one_says_nothing(bench: Bench) -> None:
    pool = bench.pool(bench.deaf(), stop_grace=0.01)
    for _ in range(3):  # more than there are threads, and more than there are slots
        run = await begun(bench, pool)
        run.request_stop("by the user")
        await asyncio.wait_for(bench.told.ended.wait(), SECONDS)
    stuck = pool.stuck

    bench.let_go.set()
    await unstuck(pool)

    assert stuck == 3
    assert [type(outcome) for outcome in bench.told.outcomes] == [Aborted] * 3
    assert pool.free == 2


async def test_runs_that_are_stuck_beyond_the_number_of_slots_keep_theirs_until_they_end(bench: Bench) -> None:
    pool = bench.pool(bench.deaf(), stop_grace=0.01)
    free = []
    for _ in range(4):
        run = await begun(bench, pool)
        run.request_stop("by the user")
        await asyncio.wait_for(bench.told.ended.wait(), SECONDS)
        async with asyncio.timeout(SECONDS):
            while pool.stuck <= len(free) or pool.running:
                await asyncio.sleep(0.001)
        free.append(pool.free)

    bench.let_go.set()
    await unstuck(pool)

    assert free == [2, 2, 1, 0]
    assert pool.free == 2


async def test_a_thread_that_was_stuck_and_ends_is_one_too_many_and_goes(tmp_path: Path) -> None:
    bench = Bench(executor="thread", directory=tmp_path)
    pool = bench.pool(bench.deaf(), stop_grace=0.01)
    for _ in range(2):
        run = await begun(bench, pool)
        run.request_stop("by the user")
        await asyncio.wait_for(bench.told.ended.wait(), SECONDS)
    bench.let_go.set()
    await unstuck(pool)

    outcomes = []
    for _ in range(3):
        await begun(bench, pool)
        await asyncio.wait_for(bench.told.ended.wait(), SECONDS)
        outcomes.append(type(bench.told.outcomes[-1]))

    assert outcomes == [Succeeded] * 3
    assert bench.threads._threads <= 1
    bench.threads.close()


async def test_a_hand_back_spends_no_attempt_and_is_no_retry(bench: Bench) -> None:
    pool = bench.pool(patient(bench, max_attempts=5))
    run = await begun(bench, pool)

    run.hand_back()
    await asyncio.wait_for(bench.told.ended.wait(), SECONDS)

    assert [type(outcome) for outcome in bench.told.outcomes] == [HandedBack]
