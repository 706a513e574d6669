"""What functions of a step see, without any daemon: a job with parameters, a part, and a state."""

from dataclasses import dataclass, field, replace
from types import SimpleNamespace
from typing import Any

from jobservice.sdk.steps import Partition, Range


@dataclass
class Seen:
    """The part of StepContext that readers and writers ask for."""

    job: Any = field(default_factory=SimpleNamespace)
    partition: Partition = field(default_factory=Partition)
    state: dict[str, Any] = field(default_factory=dict)
    connection: Any = None
    info: Any = field(default_factory=lambda: SimpleNamespace(id="job", run=1))

    def part(self, index: int, ranges: list[Range]) -> "Seen":
        """The same job, in a part."""
        given = ranges[index]
        return replace(self, partition=Partition(index, len(ranges), given.low, given.high), state={})


def seen(**parameters: Any) -> Any:
    """Of a job with these parameters."""
    return Seen(SimpleNamespace(**parameters))
