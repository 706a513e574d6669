"""What a job may ask of its run, on every executor: info, log, progress, workspace, next jobs."""

import json
from pathlib import Path
from uuid import UUID

import structlog
from runs import Pool
from structlog.testing import capture_logs

from jobservice import AbstractJob, JobInfo
from jobservice.domain.outcomes import Succeeded


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
