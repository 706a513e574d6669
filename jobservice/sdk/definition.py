"""Owns JobDefinition: a job class, read once and found to be declared rightly."""

import inspect
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from jobservice.domain.errors import DefinitionError
from jobservice.domain.names import is_name
from jobservice.domain.retry import Backoff, FixedBackoff
from jobservice.sdk.abstract_job import AbstractJob
from jobservice.sdk.parameters import Parameters, validator_of
from jobservice.sdk.results import qualified_name
from jobservice.sdk.step_definition import checked_listeners, checked_steps
from jobservice.sdk.step_parameters import step_parameters_of
from jobservice.sdk.steps import Chunk, Task


@dataclass(frozen=True, slots=True)
class JobDefinition:
    """What the daemon needs to know of a job class."""

    name: str
    job_class: type[AbstractJob]
    executor: str
    validator: Parameters
    queue: str | None
    timeout: float | None
    max_attempts: int
    retry_on: tuple[type[BaseException], ...]
    backoff: Backoff
    needs_workspace: bool
    steps: tuple[Task | Chunk, ...] = ()

    @classmethod
    def of(cls, job_class: type[AbstractJob]) -> "JobDefinition":
        """Reads a class. Raises DefinitionError, naming the class and what to change."""
        name = job_class.registered_name()
        _require(job_class, isinstance(name, str) and is_name(name), f"the name {name!r} is not one word; set `name`")
        queue = job_class.queue
        _require(job_class, queue is None or is_name(queue), f"the queue {queue!r} is not one word")
        timeout = job_class.timeout
        _require(job_class, timeout is None or timeout > 0, f"the timeout {timeout!r} is not a number of seconds > 0")
        attempts = job_class.max_attempts
        _require(job_class, attempts >= 1, f"max_attempts {attempts!r} is not 1 or more")
        if job_class.steps:
            return cls._with_steps(job_class, name)
        run = _run_of(job_class)
        return cls(
            name=name,
            job_class=job_class,
            executor=_executor_of(job_class, run),
            validator=validator_of(run),
            queue=queue,
            timeout=timeout,
            max_attempts=attempts,
            retry_on=_retry_on_of(job_class),
            backoff=_backoff_of(job_class),
            needs_workspace=job_class.needs_workspace,
        )

    @classmethod
    def _with_steps(cls, job_class: type[AbstractJob], name: str) -> "JobDefinition":
        _require(job_class, not hasattr(job_class, "run"), "it has steps and a `run`; one of them has to go")
        _require(job_class, job_class.executor is None, "steps choose where they run themselves; leave `executor` out")
        checked_listeners(qualified_name(job_class), job_class.listeners)
        return cls(
            name=name,
            job_class=job_class,
            executor="steps",
            validator=step_parameters_of(job_class),
            queue=job_class.queue,
            timeout=job_class.timeout,
            max_attempts=job_class.max_attempts,
            retry_on=_retry_on_of(job_class),
            backoff=_backoff_of(job_class),
            needs_workspace=job_class.needs_workspace,
            steps=checked_steps(qualified_name(job_class), job_class.steps),
        )


def _run_of(job_class: type[AbstractJob]) -> Callable[..., Any]:
    run = inspect.getattr_static(job_class, "run", None)
    _require(job_class, run is not None, "it has no `run`; write `async def run(self, …)` or `def run(self, …)`")
    _require(job_class, inspect.isfunction(run), "`run` is not a plain method")
    generator = inspect.isgeneratorfunction(run) or inspect.isasyncgenfunction(run)
    _require(job_class, not generator, "`run` is a generator; return the result instead of yielding")
    function: Callable[..., Any] = job_class.run
    return function


def _executor_of(job_class: type[AbstractJob], run: Callable[..., Any]) -> str:
    fitting = "asyncio" if inspect.iscoroutinefunction(run) else "thread"
    declared: str | None = job_class.executor
    if declared == "process":
        importable = "<" not in job_class.__qualname__ and job_class.__module__ != "__main__"
        _require(job_class, importable, 'executor = "process" needs a class that another process can import')
        return "process"
    _require(
        job_class,
        declared in (None, fitting),
        f'executor = {declared!r} does not fit its run: "asyncio" goes with `async def run`, "thread" with `def run`,'
        ' "process" with both',
    )
    return fitting


def _retry_on_of(job_class: type[AbstractJob]) -> tuple[type[BaseException], ...]:
    declared: Any = job_class.retry_on
    types = declared if isinstance(declared, tuple) else (declared,)
    errors = all(isinstance(each, type) and issubclass(each, BaseException) for each in types)
    _require(job_class, errors, f"retry_on {declared!r} is not a tuple of exception classes")
    return types


def _backoff_of(job_class: type[AbstractJob]) -> Backoff:
    # From the class's own mappings: a plain function read through the class would do, through a job it would be bound.
    declared: Any = inspect.getattr_static(job_class, "backoff")
    if isinstance(declared, staticmethod):
        declared = declared.__func__
    if isinstance(declared, int | float) and not isinstance(declared, bool):
        _require(job_class, declared >= 0, f"backoff {declared!r} is not a number of seconds")
        return FixedBackoff(declared)
    _require(job_class, callable(declared), f"backoff {declared!r} is neither seconds nor a function")
    policy: Backoff = declared
    return policy


def _require(job_class: type[AbstractJob], fits: bool, complaint: str) -> None:
    if not fits:
        raise DefinitionError(f"{qualified_name(job_class)}: {complaint}")
