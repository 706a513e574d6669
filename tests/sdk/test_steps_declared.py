"""How the author of a job with steps declares it, and what is refused at once instead of in the middle of a night."""

import re
from collections.abc import Iterator
from typing import Annotated, Any, ClassVar

import pytest

import jobservice
from jobservice import AbstractJob, At, Chunk, Listener, NotIdentifying, RetryPolicy, SkipPolicy, Task
from jobservice.domain.errors import DefinitionError
from jobservice.sdk import steps
from jobservice.sdk.definition import JobDefinition


def read(context: Any, after: Any) -> Iterator[At]:
    yield At(1, 1)


def write(context: Any, items: list[Any]) -> None: ...


def declared(*declared: Any, **members: Any) -> JobDefinition:
    return JobDefinition.of(type("Declared", (AbstractJob,), {"steps": declared} | members))


def chunk(**members: Any) -> Any:
    return Chunk("post", **{"read": read, "write": write} | members)


def test_what_a_job_with_steps_is_written_with_comes_from_the_package_itself() -> None:
    written = {name for name, kind in vars(steps).items() if getattr(kind, "__module__", "") == steps.__name__}

    assert written - {"Counts", "Step", "UnplannedPartition"} <= set(jobservice.__all__)


@pytest.mark.parametrize(
    ("members", "told"),
    [
        ({"skip": ValueError}, "skip is a SkipPolicy(on=…, limit=…), not <class 'ValueError'>"),
        ({"skip": SkipPolicy(on=ValueError, limit=-1)}, "the limit of its SkipPolicy is 0 or more, not -1"),
        ({"skip": SkipPolicy(on=[ValueError], limit=1)}, "is an exception class or a tuple of them"),  # type: ignore[arg-type]
        ({"retry": OSError}, "retry is a RetryPolicy(on=…, times=…), not <class 'OSError'>"),
        ({"retry": RetryPolicy(on="OSError")}, "is an exception class or a tuple of them, not 'OSError'"),  # type: ignore[arg-type]
        ({"retry": RetryPolicy(times=-1)}, "the times of its RetryPolicy are 0 or more, not -1"),
        ({"retry": RetryPolicy(backoff=-1)}, "the backoff of its RetryPolicy is seconds, or a function, not -1"),
        ({"size": "500"}, "size is 1 or more, partitions 1 to 10000, not '500' and 1"),
        ({"size": 0}, "size is 1 or more"),
        ({"partitions": True}, "partitions 1 to 10000, not 100 and True"),
        ({"read": read(None, None)}, "read is a function, or an object with a method read"),
        ({"write": None}, "write is a function, or an object with a method write, not None"),
        ({"process": 5}, "process is a function, not 5"),
        ({"when": True}, "when is a function, not True"),
        ({"start_limit": 0}, "start_limit is a number, 1 or more, not 0"),
        ({"listeners": Listener()}, "listeners is a list or tuple of Listener objects"),
        ({"listeners": [Listener]}, "listeners is a list or tuple of Listener objects"),
    ],
)
def test_a_step_that_cannot_work_is_refused_with_its_name_and_what_it_takes(members: dict[str, Any], told: str) -> None:
    with pytest.raises(DefinitionError, match=re.escape("Declared, step post: ") + ".*" + re.escape(told)):
        declared(chunk(**members))


def test_steps_that_are_none_and_a_task_without_a_function_are_refused() -> None:
    with pytest.raises(DefinitionError, match="a step is a Task or a Chunk, not <function read"):
        declared(read)
    with pytest.raises(DefinitionError, match="step notify: its second argument is the function that it runs, not 5"):
        declared(Task("notify", 5))  # type: ignore[arg-type]
    with pytest.raises(DefinitionError, match="steps is a list or tuple of Task and Chunk"):
        JobDefinition.of(type("Declared", (AbstractJob,), {"steps": chunk()}))
    with pytest.raises(DefinitionError, match="Declared: listeners is a list or tuple of Listener objects"):
        declared(chunk(), listeners=Listener())


@pytest.mark.parametrize("name", ["name", "info", "queue", "log", "steps"])
def test_a_parameter_called_like_what_every_job_has_is_refused(name: str) -> None:
    with pytest.raises(DefinitionError, match=f"every job has {name}: name the parameter otherwise"):
        declared(chunk(), __annotations__={name: str})


def test_what_the_class_says_of_itself_is_no_parameter_where_it_is_a_class_variable() -> None:
    class EndOfDay(AbstractJob):
        queue: ClassVar[str | None] = "nightly"
        steps = (chunk(),)
        day: str
        note: Annotated[str, NotIdentifying] = ""

    assert JobDefinition.of(EndOfDay).queue == "nightly"
    assert JobDefinition.of(EndOfDay).validator.names == ("day", "note")  # type: ignore[attr-defined]
