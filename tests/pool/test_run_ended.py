"""One run that somebody ends: stopped, handed back, abandoned, cancelled, on every executor."""

import asyncio
import threading
from pathlib import Path

import pytest
from runs import SECONDS, Pool
from structlog.testing import capture_logs

from jobservice import AbstractJob
from jobservice.domain.outcomes import Aborted, HandedBack, Outcome, Succeeded
from jobservice.pool.run import Run


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
