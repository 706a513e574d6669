"""Runs a job class in a test through the very Run of the daemon, without daemon, database or broker.

Parameters go through JSON and the check of `run`'s signature, the result through its encoding, the workspace is made
and removed: what passes here passes there.
"""

import asyncio
import inspect
import json
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, TypeVar
from uuid import UUID, uuid4

import structlog
from pydantic import TypeAdapter

from jobservice.domain.claimed import ClaimedJob
from jobservice.domain.errors import DefinitionError
from jobservice.domain.facts import JobCard
from jobservice.domain.outcomes import Aborted, Failed, HandedBack, Outcome, Parked, Retried, Succeeded
from jobservice.domain.states import JobStatus
from jobservice.pool.executors import AsyncioExecutor, Executor, ThreadExecutor
from jobservice.pool.run import Run
from jobservice.pool.workspace import Workspaces
from jobservice.sdk.abstract_job import AbstractJob
from jobservice.sdk.job_info import JobInfo
from jobservice.sdk.json_values import dump
from jobservice.sdk.progress import Progress, ProgressSnapshot
from jobservice.sdk.progress_info import STEPS
from jobservice.sdk.registry import Registry
from jobservice.testing.stages import in_a_stage

T = TypeVar("T")
StopWhen = Callable[[ProgressSnapshot], bool]
STOP_REASON = "stopped by the test"


@dataclass(frozen=True, slots=True, kw_only=True)
class JobTestResult:
    """How the run of a job ended."""

    status: JobStatus
    started: bool
    """Whether the job was ever RUNNING: not when a parameter is missing or wrong."""
    progress: ProgressSnapshot
    result: Any = None
    """The result as JSON values; `result_as` gives it its type."""
    result_class: str | None = None
    error_type: str | None = None
    error: str | None = None
    """The error's text, or the reason of an abort."""
    stack_trace: str | None = None
    retry_after: float | None = None
    """Seconds until the next attempt, where the error of this one leads to one; None: there is none."""
    next_jobs: list[dict[str, Any]] = field(default_factory=list)
    """What `submit_next` would submit; only of a job that succeeded."""
    stage_changes: list[dict[str, Any]] = field(default_factory=list)
    """What it would change of stages: {"merge"}, {"increment", "by"} or {"jobs"}, with "stage" where it named one."""
    progress_info: dict[str, Any] | None = None
    """What the job told beside the counts. Its `steps` are without dates, which are the database's."""
    workspace_files: dict[str, bytes] = field(default_factory=dict)
    """What was in the workspace when the job ended: relative path → contents."""

    def result_as(self, kind: type[T]) -> T:
        """The result read back as a client would, as a model, a dataclass, `list[Path]` …"""
        return TypeAdapter(kind).validate_json(dump(self.result))


def run_job(
    job_class: type[AbstractJob],
    /,
    *,
    stop_when: StopWhen | None = None,
    stage_data: Mapping[str, Any] | None = None,
    pipeline_data: Mapping[str, Any] | None = None,
    **parameters: Any,
) -> JobTestResult:
    """Runs a job to its end, from a plain test. See `arun_job`."""
    return asyncio.run(
        arun_job(job_class, stop_when=stop_when, stage_data=stage_data, pipeline_data=pipeline_data, **parameters)
    )


async def arun_job(
    job_class: type[AbstractJob],
    /,
    *,
    stop_when: StopWhen | None = None,
    stage_data: Mapping[str, Any] | None = None,
    pipeline_data: Mapping[str, Any] | None = None,
    **parameters: Any,
) -> JobTestResult:
    """Runs a job to its end, in a stage of a pipeline where one of the two is given data.

    `stop_when` looks at the progress each time the job tells it, and requests a stop the first time that it returns
    true. What the job raises is in the result; DefinitionError and InvalidSubmission (a parameter that JSON cannot
    carry) are raised.
    """
    if job_class.steps:
        raise DefinitionError(f"{job_class.__name__} has steps, and those need a database: try it with a daemon")
    registry = Registry.of(job_class)
    claimed = _claimed(job_class, parameters)
    if stage_data is not None or pipeline_data is not None:
        claimed = in_a_stage(claimed, stage_data or {}, pipeline_data or {})
    threads = ThreadExecutor(1)
    with tempfile.TemporaryDirectory(prefix="jobservice-test-") as directory:
        log = structlog.get_logger("jobservice.testing")
        workspaces = _KeptWorkspaces(Path(directory), log)
        reports = _Reports()
        run = Run(
            claimed=claimed,
            registry=registry,
            executors={"asyncio": AsyncioExecutor(), "thread": threads, "process": _beside(job_class, threads)},
            workspaces=workspaces,
            reports=reports,
            log=log,
            unknown_class=_never_unknown,
        )
        if stop_when is not None:
            run.progress = _WatchedProgress(run, stop_when)
        try:
            await run.execute()
        finally:
            threads.close()
    return _told(run, reports, workspaces.files)


def _beside(job_class: type[AbstractJob], threads: ThreadExecutor) -> Executor:
    """A test has no second process: what would run there runs here."""
    return AsyncioExecutor() if inspect.iscoroutinefunction(job_class.run) else threads


class _Reports:
    def __init__(self) -> None:
        self.started = False
        self.outcome: Outcome | None = None

    def start(self, run: Run) -> None:
        self.started = True

    def finish(self, run: Run, outcome: Outcome) -> None:
        self.outcome = outcome


class _WatchedProgress(Progress):
    """Progress that stops its run when the test's condition holds."""

    __slots__ = ("_run", "_stop_when")

    def __init__(self, run: Run, stop_when: StopWhen) -> None:
        super().__init__()
        self._run = run
        self._stop_when = stop_when

    def advance(self, count: int) -> None:
        super().advance(count)
        self._look()

    def update(self, done: int | None = None, total: int | None = None, message: str | None = None) -> None:
        super().update(done, total, message)
        self._look()

    def _look(self) -> None:
        if self._run.stop_reason is None and self._stop_when(self.snapshot()):
            self._run.request_stop(STOP_REASON)


class _KeptWorkspaces(Workspaces):
    """Workspaces that keep what was in them."""

    def __init__(self, directory: Path, log: Any) -> None:
        super().__init__(directory, log)
        self.files: dict[str, bytes] = {}

    def remove(self, job_id: UUID, run: int) -> None:
        path = self.path_for(job_id, run)
        self.files = {
            each.relative_to(path).as_posix(): each.read_bytes()
            for each in sorted(path.rglob("*"))
            if each.is_file() and not each.is_symlink()
        }
        super().remove(job_id, run)


def _claimed(job_class: type[AbstractJob], parameters: dict[str, Any]) -> ClaimedJob:
    # By name: a wrong parameter is to end the job FAILED here, as in the daemon, not to refuse the submission.
    submission = JobInfo(job_class.registered_name(), parameters=parameters).to_submission()
    card = JobCard(job_id=uuid4(), tenant="default", queue="default", job_class=job_class.registered_name())
    return ClaimedJob(
        card=card,
        run=1,
        attempt=1,
        max_attempts=None,
        sequence=2,
        priority=0,
        parameters=dump(submission.get("parameters", {})),
        expired=False,
        timeout=None,
        user_metadata="{}",
        created_date=datetime.now(UTC),
    )


def _info_of(run: Run) -> dict[str, Any] | None:
    if run.progress.info is None:
        return None
    info: dict[str, Any] = json.loads(run.progress.info.text(run.started_at))
    steps = {
        name: {"status": step["status"], "elapsed_ms": step["took"] // 1_000}
        for name, step in info.pop(STEPS, {}).items()
    }
    return info | {STEPS: steps} if steps else info


def _asked(change: dict[str, Any]) -> dict[str, Any]:
    """Without the ids, which a test cannot know."""
    return {name: value for name, value in change.items() if name not in ("pipeline_id", "stage_id", "from")}


async def _never_unknown(run: Run) -> Outcome:
    raise LookupError(f"{run.claimed.card.job_class} is not registered")


def _told(run: Run, reports: _Reports, files: dict[str, bytes]) -> JobTestResult:
    known: dict[str, Any] = {
        "started": reports.started,
        "progress": run.progress.snapshot(),
        "progress_info": _info_of(run),
        "workspace_files": files,
    }
    match reports.outcome:
        case Succeeded(result, result_class, next_jobs, stage_changes):
            return JobTestResult(
                status=JobStatus.SUCCEEDED,
                result=None if result is None else json.loads(result),
                result_class=result_class,
                next_jobs=json.loads(next_jobs or "[]"),
                stage_changes=[_asked(change) for change in json.loads(stage_changes or "[]")],
                **known,
            )
        case Failed(error_type, message, stack_trace):
            return JobTestResult(
                status=JobStatus.FAILED, error_type=error_type, error=message, stack_trace=stack_trace, **known
            )
        case Retried(each, delay):
            return JobTestResult(
                status=JobStatus.PENDING if delay > 0 else JobStatus.QUEUED,
                error_type=each.error_type,
                error=each.message,
                stack_trace=each.stack_trace,
                retry_after=delay,
                **known,
            )
        case Aborted(reason):
            return JobTestResult(status=JobStatus.ABORTED, error=reason, **known)
        case HandedBack() | Parked() | None:  # nobody hands back here
            raise AssertionError(f"the run ended with {reports.outcome}")
