"""Owns AbstractJob, all that the author of a job class sees, and the narrow JobContext that the run hands in.

A job never sees the database, the broker or the pool.
"""

import inspect
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, ClassVar, Literal, NoReturn, Protocol, TypeVar

from structlog.typing import FilteringBoundLogger

from jobservice.domain.errors import DefinitionError, JobAborted
from jobservice.domain.retry import Backoff, ExponentialBackoff
from jobservice.sdk.job_info import JobInfo
from jobservice.sdk.parameters import Parameters, validator_of
from jobservice.sdk.pipeline import PipelineInfo, StageInfo
from jobservice.sdk.progress import Progress
from jobservice.sdk.stage_changes import StageJob, StageLike, increment, merge, more_jobs
from jobservice.sdk.step_parameters import step_parameters_of
from jobservice.sdk.steps import Listener, Step


class JobContext(Protocol):
    """What a job may ask of its run."""

    @property
    def info(self) -> JobInfo: ...
    @property
    def log(self) -> FilteringBoundLogger: ...
    @property
    def workspace(self) -> Path | None:
        """The private directory that was made for this run, or None where the class needs none."""

    @property
    def progress(self) -> Progress: ...
    @property
    def ending(self) -> str | None:
        """Why the run is to end now, or None while it may go on."""

    @property
    def stage(self) -> StageInfo | None: ...
    @property
    def pipeline(self) -> PipelineInfo | None: ...

    def add_next_jobs(self, jobs: tuple[JobInfo, ...]) -> None:
        """Keeps what is to be submitted with this job's success."""

    def change_stage(self, stage: StageLike | None, change: dict[str, Any]) -> None:
        """Keeps what is to become of a stage with this job's success; None: the job's own."""


class AbstractJob:
    """A job class: subclass it and write `run`, with the job's parameters as its own, annotated.

    `async def run` runs on the daemon's event loop and must not block it; a plain `def run` runs on a thread. What
    `run` returns becomes the result; anything raised ends the job FAILED with its stack trace.
    """

    name: ClassVar[str | None] = None
    """What a JobInfo calls this class; the class's own name when not given. Never inherited."""
    queue: ClassVar[str | None] = None
    """Where its jobs go when the submitter gives the class itself and names no queue."""
    executor: ClassVar[Literal["asyncio", "thread", "process"] | None] = None
    """Follows from `run` when not given. "process" is for work that would block the interpreter, or break it."""
    timeout: ClassVar[float | None] = None
    """Seconds that a run may take, where the JobInfo has no limit of its own."""
    max_attempts: ClassVar[int] = 1
    """Runs until a job is FAILED for good, where the JobInfo does not say."""
    retry_on: ClassVar[tuple[type[BaseException], ...]] = (Exception,)
    """Errors after which a job is run again, as long as attempts are left. A wrong parameter is never retried."""
    backoff: ClassVar[Backoff | float] = ExponentialBackoff()
    """Seconds until the next attempt: a number, a policy, or a function of the attempt (1, 2, …) and its error."""
    needs_workspace: ClassVar[bool] = False
    steps: ClassVar[Sequence[Step]] = ()
    """Steps in the place of `run`; the job's parameters are then fields of the class. docs/steps.md."""
    listeners: ClassVar[Sequence[Listener]] = ()
    """Of a job with steps."""
    prevent_restart: ClassVar[bool] = False
    """Whether an instance of a job with steps, once begun, may never be executed again."""

    run: Callable[..., Any]
    """To be written by the subclass."""

    _context: JobContext

    @classmethod
    def registered_name(cls) -> str:
        """The name under which JobInfos find this class."""
        return cls.__dict__.get("name") or cls.__name__

    @classmethod
    def check_parameters(cls, parameters: str, unknown: Collection[str] = ()) -> None:
        """Raises JobParameterMissing, JobParameterInvalid for a JSON object that is none of this class's parameters.

        Of those in `unknown` the values are not known yet: any will do.
        """
        validator: Parameters = step_parameters_of(cls) if cls.steps else validator_of(cls.run)
        validator.check_json(parameters, unknown)

    @property
    def info(self) -> JobInfo:
        """The job as it was claimed; read-only."""
        return self._context.info

    @property
    def log(self) -> FilteringBoundLogger:
        """A structlog logger, bound to this run's ids."""
        return self._context.log

    @property
    def workspace(self) -> Path:
        """A private directory of this run, removed afterwards. Asks for `needs_workspace = True` on the class."""
        directory = self._context.workspace
        if directory is None:
            raise DefinitionError(f"{type(self).__name__} has no workspace: set needs_workspace = True on the class")
        return directory

    @property
    def completion_count(self) -> int:
        """How many ticks make 100 %. Set it once the amount of work is known."""
        return self._context.progress.total

    @completion_count.setter
    def completion_count(self, count: int) -> None:
        self._context.progress.update(total=count)

    def advance_completion(self, n: int = 1) -> None:
        """`n` ticks more are done. In a run that was stopped it raises JobAborted: threads see a stop here."""
        self._context.progress.advance(n)
        self.raise_if_stopped()

    def set_progress(self, done: int | None = None, total: int | None = None, message: str | None = None) -> None:
        """Sets what is given of done, total and a message for people. Never raises for a stop."""
        self._context.progress.update(done, total, message)

    def set_progress_info(self, value: Mapping[str, Any]) -> None:
        """Keeps a free JSON object with the progress, instead of the one before. Raises ProgressRefused."""
        self._context.progress.replace_info(value)

    def begin_step(self, name: str) -> None:
        """A named step begins, or begins anew; its dates are of the database's clock. Raises ProgressRefused."""
        self._context.progress.begin_step(name)

    def end_step(self, name: str, *, failed: bool = False) -> None:
        """The step is done, or has failed. One that still runs when the run ends, ends with it."""
        self._context.progress.end_step(name, failed=failed)

    @contextmanager
    def step(self, name: str) -> Iterator[None]:
        """`with self.step("download"):` begins and ends it; whatever is raised inside makes it failed."""
        self.begin_step(name)
        try:
            yield
        except BaseException:
            self.end_step(name, failed=True)
            raise
        self.end_step(name)

    @property
    def stop_requested(self) -> bool:
        """Whether this run is to end now."""
        return self._context.ending is not None

    def raise_if_stopped(self) -> None:
        """Raises JobAborted once a stop was requested."""
        reason = self._context.ending
        if reason is not None:
            raise JobAborted(reason)

    def abort(self, reason: str) -> NoReturn:
        """Ends this job ABORTED, by its own will."""
        raise JobAborted(reason)

    def submit_next(self, *jobs: JobInfo) -> None:
        """Jobs to queue in the very transaction that records this one's success; none if it does not succeed.

        They are this job's tenant's where they name no other. Raises InvalidSubmission at once for what no submission
        can carry.
        """
        self._context.add_next_jobs(jobs)

    @property
    def stage(self) -> StageInfo | None:
        """The stage that this job belongs to, as it stood when the job was claimed; None where there is none."""
        return self._context.stage

    @property
    def pipeline(self) -> PipelineInfo | None:
        """The pipeline of that stage, as it stood then, without its stages."""
        return self._context.pipeline

    # Changes of stages: all in the very transaction that records this job's success, none if it does not succeed.
    # `stage` is one of the job's own pipeline: a StageInfo, an id, or the name of the first such from its own on.

    def update_stage_metadata(self, patch: Mapping[str, Any], stage: StageLike | None = None) -> None:
        """Merges `patch` into the metadata of a stage, the job's own by default; None removes a member.

        Raises InvalidSubmission for what is no JSON object, NoStage.
        """
        self._context.change_stage(stage, merge(patch))

    def increment_stage_metadata(self, key: str, n: float = 1, stage: StageLike | None = None) -> None:
        """Adds `n` to a number in the metadata of a stage: however many jobs do at once, it is exact.

        Raises InvalidSubmission, NoStage.
        """
        self._context.change_stage(stage, increment(key, n))

    def add_jobs(self, stage: StageLike | StageJob | None, /, *jobs: StageJob) -> None:
        """Adds jobs to a stage that has not ended; without one to the job's own. Raises InvalidSubmission, NoStage."""
        if isinstance(stage, JobInfo | Mapping):
            self._context.change_stage(None, more_jobs((stage, *jobs)))
        else:
            self._context.change_stage(stage, more_jobs(jobs))


J = TypeVar("J", bound=AbstractJob)


def instantiate(job_class: type[J], context: JobContext) -> J:
    """A job of `job_class` for one run; `self.info` and the rest work in its `__init__` already."""
    job = job_class.__new__(job_class)
    job._context = context
    type(job).__init__(job)
    return job


def is_job_class(value: Any) -> bool:
    """Whether `value` is a subclass of AbstractJob that can be run: it has `run` and nothing abstract left."""
    return (
        isinstance(value, type)
        and issubclass(value, AbstractJob)
        and (hasattr(value, "run") or bool(value.steps))
        and not inspect.isabstract(value)
    )
