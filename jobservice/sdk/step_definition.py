"""Finds out whether the steps of a job class are declared rightly: before any job of it runs, not in its middle."""

from collections.abc import Iterable, Sequence
from typing import Any, Final

from jobservice.domain.errors import DefinitionError
from jobservice.domain.names import is_name
from jobservice.sdk.steps import Chunk, Listener, RetryPolicy, SkipPolicy, Step, Task

PARTITIONS_MAX: Final = 10_000


def checked_steps(job_class: str, steps: Sequence[Step]) -> tuple[Task | Chunk, ...]:
    """The steps of a job class, found to be declared rightly. Raises DefinitionError."""
    _require(isinstance(steps, list | tuple), job_class, f"steps is a list or tuple of Task and Chunk, not {steps!r}")
    names: set[str] = set()
    checked: list[Task | Chunk] = []
    for step in steps:
        if not isinstance(step, Task | Chunk):
            raise DefinitionError(f"{job_class}: a step is a Task or a Chunk, not {step!r}")
        is_new = isinstance(step.name, str) and is_name(step.name) and step.name not in names
        _require(is_new, job_class, f"the step name {step.name!r} is no word, or is there twice")
        _check(f"{job_class}, step {step.name}", step)
        names.add(step.name)
        checked.append(step)
    for place, step in enumerate(checked):
        later = [each.name for each in checked[place + 1 :]]
        if step.on_failure is not None and step.on_failure not in later:
            raise DefinitionError(f"{job_class}, step {step.name}: on_failure names no later step: {step.on_failure!r}")
    return tuple(checked)


def checked_listeners(where: str, listeners: Iterable[Listener]) -> None:
    """Raises DefinitionError for what is no Listener: a class, or one that stands alone."""
    told = f"listeners is a list or tuple of Listener objects, not {listeners!r}"
    _require(isinstance(listeners, list | tuple), where, told)
    _require(all(isinstance(each, Listener) for each in listeners), where, told)


def _check(where: str, step: Task | Chunk) -> None:
    _check_policies(where, step)
    checked_listeners(where, step.listeners)
    limit = step.start_limit
    _require(limit is None or _is_count(limit, 1), where, f"start_limit is a number, 1 or more, not {limit!r}")
    optional = ["when"]
    if isinstance(step, Task):
        _require(callable(step.run), where, f"its second argument is the function that it runs, not {step.run!r}")
    else:
        _check_chunk(where, step)
        optional += ["process", "plan", "aggregate", "count"]
    for name in optional:
        value = getattr(step, name)
        _require(value is None or callable(value), where, f"{name} is a function, not {value!r}")


def _check_chunk(where: str, step: Chunk) -> None:
    for name in ("read", "write"):
        value = getattr(step, name)
        fits = callable(value) or callable(getattr(value, name, None))
        _require(fits, where, f"{name} is a function, or an object with a method {name}, not {value!r}")
    numbers = _is_count(step.size, 1) and _is_count(step.partitions, 1) and step.partitions <= PARTITIONS_MAX
    told = f"size is 1 or more, partitions 1 to {PARTITIONS_MAX}, not {step.size!r} and {step.partitions!r}"
    _require(numbers, where, told)


def _check_policies(where: str, step: Task | Chunk) -> None:
    retry, skip = step.retry, step.skip if isinstance(step, Chunk) else None
    if retry is not None:
        _require(isinstance(retry, RetryPolicy), where, f"retry is a RetryPolicy(on=…, times=…), not {retry!r}")
        _require(_is_count(retry.times, 0), where, f"the times of its RetryPolicy are 0 or more, not {retry.times!r}")
        _require(_are_errors(retry.on), where, f"the `on` of its RetryPolicy is {_ERRORS}, not {retry.on!r}")
        fits = callable(retry.backoff) or (isinstance(retry.backoff, int | float) and retry.backoff >= 0)
        _require(fits, where, f"the backoff of its RetryPolicy is seconds, or a function, not {retry.backoff!r}")
    if skip is not None:
        _require(isinstance(skip, SkipPolicy), where, f"skip is a SkipPolicy(on=…, limit=…), not {skip!r}")
        _require(_is_count(skip.limit, 0), where, f"the limit of its SkipPolicy is 0 or more, not {skip.limit!r}")
        _require(_are_errors(skip.on), where, f"the `on` of its SkipPolicy is {_ERRORS}, not {skip.on!r}")


_ERRORS: Final = "an exception class or a tuple of them"


def _are_errors(value: Any) -> bool:
    kinds = value if isinstance(value, tuple) else (value,)
    return all(isinstance(kind, type) and issubclass(kind, BaseException) for kind in kinds)


def _is_count(value: Any, least: int) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= least


def _require(fits: bool, where: str, complaint: str) -> None:
    if not fits:
        raise DefinitionError(f"{where}: {complaint}")
