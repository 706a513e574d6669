"""One run, from its claim to its outcome: the same specification on every executor.

Each job class exists twice, as `async def` and as `def`; `on` picks the one that belongs to the executor.
"""

import asyncio
import gc
import weakref

import pytest
import runs
from runs import Body, Pool

from jobservice import AbstractJob
from jobservice.domain.outcomes import Aborted, Failed, HandedBack, Outcome, Succeeded


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
    assert runs.__file__ in first_frame  # the `run` of the class
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
