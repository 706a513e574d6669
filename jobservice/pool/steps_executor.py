"""Runs jobs with steps: in the task of their run, ended between two chunks rather than in the middle of one."""

from typing import Any

from jobservice.domain.outcomes import Parked
from jobservice.pool.claimed_info import parameters_of_parts
from jobservice.pool.executors import EndedElsewhere
from jobservice.sdk.abstract_job import AbstractJob, instantiate
from jobservice.sdk.definition import JobDefinition
from jobservice.steps.runner import StepRunner
from jobservice.steps.threads import StepThreads


class StepsJob:
    """A job with steps and what its run knows of it."""

    def __init__(self, job: AbstractJob, definition: JobDefinition, context: Any) -> None:
        self.job = job
        self.definition = definition
        self.context = context


class StepsExecutor:
    """A stop and a drain are seen behind the current chunk; who goes on for longer than its grace is cancelled."""

    cancellable = False
    checkpoints = True
    begin = None

    def __init__(self, runner: StepRunner, threads: StepThreads) -> None:
        self._runner = runner
        self._threads = threads

    @property
    def stuck(self) -> int:
        """Plain functions of steps that go on, though their run was given up."""
        return self._threads.stuck

    def make(self, definition: JobDefinition, context: Any) -> StepsJob:
        """Here and now."""
        return StepsJob(instantiate(definition.job_class, context), definition, context)

    def has_place(self, job: StepsJob) -> bool:
        """Always."""
        return True

    async def execute(self, job: StepsJob, arguments: dict[str, Any]) -> object:
        """The result; EndedElsewhere with Parked while parts run as jobs of their own."""
        context = job.context
        result = await self._runner.run(
            job.job,
            context.claimed,
            job.definition,
            arguments,
            of_parts=lambda: parameters_of_parts(context.claimed),
            leaving=lambda: context.is_leaving,
            wishes=context.wished(),
        )
        if isinstance(result, Parked):
            raise EndedElsewhere(result)
        return result

    def ask_to_end(self, job: StepsJob, reason: str) -> None:
        """Its run says so when it is asked."""
