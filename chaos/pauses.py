"""Owns when pipelines are known to have been paused, by the database's clock. Pure.

A pause is known from after its answer until before anything was said that may undo it.
"""

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID


@dataclass(slots=True)
class Pause:
    """`until` None: to the end of the run."""

    since: datetime
    until: datetime | None = None

    def holds(self, moment: datetime) -> bool:
        """Whether it was paused then."""
        return self.since <= moment and (self.until is None or moment < self.until)


class Pauses:
    """Of all pipelines."""

    def __init__(self) -> None:
        self._known: defaultdict[UUID, list[Pause]] = defaultdict(list)
        self._doubtful: set[UUID] = set()

    @property
    def count(self) -> int:
        """How many are known."""
        return sum(map(len, self._known.values()))

    def begin(self, pipeline_id: UUID, moment: datetime) -> None:
        """Its pause was answered before this moment."""
        if pipeline_id not in self._doubtful:
            self._known[pipeline_id].append(Pause(moment))

    def end(self, pipeline_id: UUID, moment: datetime) -> None:
        """Something that may undo it is said after this moment."""
        for pause in self._known[pipeline_id]:
            pause.until = pause.until or moment

    def end_all(self, moment: datetime) -> None:
        """The same of each."""
        for pipeline_id in [*self._known]:
            self.end(pipeline_id, moment)

    def doubt(self, pipeline_id: UUID) -> None:
        """What was said may come to pass at any time from now on: no later pause of it is known to last."""
        self._doubtful.add(pipeline_id)

    def of(self, pipeline_id: UUID) -> Iterable[Pause]:
        """Those that are known."""
        return self._known.get(pipeline_id, ())
