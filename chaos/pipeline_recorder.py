"""Owns what a subscriber saw of pipelines and their stages."""

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from chaos.listener import Listener


@dataclass(frozen=True, slots=True)
class PipelineSeen:
    """One event of a pipeline or stage, as far as it is checked."""

    pipeline_id: str
    subject: str
    sequence: int
    status: str
    previous: str
    time: datetime


class PipelineRecorder(Listener):
    """`lives` has the events of each pipeline and each stage, `trees` those of a pipeline and its stages together,

    both in the order of their first arrival.
    """

    def __init__(self, *, url: str, prefix: str) -> None:
        super().__init__(url=url, exchange=f"{prefix}.pipelines", queue=f"{prefix}.pipeline-recorder")
        self.lives: dict[str, list[PipelineSeen]] = {}
        self.trees: dict[str, list[PipelineSeen]] = {}
        self.duplicates = 0
        self._known: set[tuple[str, int]] = set()

    @property
    def events(self) -> int:
        """How many different ones came."""
        return len(self._known)

    def keep(self, data: dict[str, Any], time_told: datetime, *, delivered_again: bool = False) -> None:
        """One arrival."""
        del delivered_again
        subject = data["stage_id"] or data["pipeline_id"]
        if (subject, data["sequence"]) in self._known:
            self.duplicates += 1
            return
        self._known.add((subject, data["sequence"]))
        seen = PipelineSeen(
            pipeline_id=data["pipeline_id"],
            subject=subject,
            sequence=data["sequence"],
            status=data["status"],
            previous=data["previous_status"],
            time=time_told,
        )
        self.lives.setdefault(seen.subject, []).append(seen)
        self.trees.setdefault(seen.pipeline_id, []).append(seen)
