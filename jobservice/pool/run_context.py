"""Owns what a job may ask of its run: the JobContext, without anything of how the run is executed."""

from pathlib import Path
from typing import Any
from uuid import UUID

from structlog.typing import FilteringBoundLogger

from jobservice.domain.claimed import ClaimedJob
from jobservice.domain.names import DEFAULT_TENANT
from jobservice.pool.claimed_info import info_of, pipeline_of, stage_of
from jobservice.pool.ending import Ending
from jobservice.sdk.job_info import JobInfo
from jobservice.sdk.pipeline import PipelineInfo, StageInfo
from jobservice.sdk.progress import Progress
from jobservice.sdk.stage_changes import NoStage, StageLike, target
from jobservice.sdk.wishes import Wishes


class RunContext:
    """The side of a run that its job sees."""

    __slots__ = (
        "_ending",
        "_info",
        "_job_log",
        "_log",
        "_pipeline",
        "_stage",
        "_wishes",
        "claimed",
        "job_id",
        "progress",
        "run",
        "workspace",
    )

    def __init__(self, *, claimed: ClaimedJob, log: FilteringBoundLogger) -> None:
        self.claimed = claimed
        self.job_id: UUID = claimed.card.job_id
        self.run = claimed.run
        self.progress = Progress()
        self.workspace: Path | None = None
        self._ending = Ending()
        self._log = log
        self._wishes: Wishes | None = None
        self._info: JobInfo | None = None
        self._stage: StageInfo | None = None
        self._pipeline: PipelineInfo | None = None
        self._job_log: FilteringBoundLogger | None = None

    @property
    def stop_reason(self) -> str | None:
        """Why the job was asked to stop, or None."""
        return self._ending.stop_reason

    @property
    def ending(self) -> str | None:
        """Why the job is to end now, or None."""
        return self._ending.reason

    @property
    def is_leaving(self) -> bool:
        """Whether the run is to end without an end of its job."""
        return self._ending.leaving is not None and self._ending.reason == self._ending.leaving

    @property
    def info(self) -> JobInfo:
        """The job as it was claimed. Built when first asked for: most jobs never do."""
        if self._info is None:
            self._info = info_of(self.claimed)
        return self._info

    @property
    def log(self) -> FilteringBoundLogger:
        """The job's own logger, bound when first asked for."""
        if self._job_log is None:
            card = self.claimed.card
            self._job_log = self._log.bind(
                job_id=str(self.job_id),
                run=self.run,
                tenant=card.tenant,
                queue=card.queue,
                job_class=card.job_class,
                correlation_id=card.correlation_id,
            )
        return self._job_log

    @property
    def stage(self) -> StageInfo | None:
        """The stage as it stood at the claim; None where the job belongs to none."""
        if self._stage is None and self.claimed.stage is not None:
            self._stage = stage_of(self.claimed.stage)
        return self._stage

    @property
    def pipeline(self) -> PipelineInfo | None:
        """The same of its pipeline."""
        if self._pipeline is None and self.claimed.stage is not None:
            self._pipeline = pipeline_of(self.claimed.stage)
        return self._pipeline

    def add_next_jobs(self, jobs: tuple[JobInfo, ...]) -> None:
        """Keeps submissions for the success: of this job's tenant and correlation where they name no other."""
        card = self.claimed.card
        tenant = card.tenant if card.tenant != DEFAULT_TENANT else None
        carried = {"tenant": tenant, "correlation_id": card.correlation_id, "traceparent": card.traceparent}
        inherited = {name: value for name, value in carried.items() if value is not None}
        self.wished().submit([inherited | job.to_submission() for job in jobs])

    def change_stage(self, stage: StageLike | None, change: dict[str, Any]) -> None:
        """Keeps a change of a stage of the job's pipeline, None: its own, for the success. Raises NoStage."""
        card = self.claimed.card
        if card.stage_id is None or card.pipeline_id is None:
            raise NoStage
        named = target(stage, own=card.stage_id, pipeline=card.pipeline_id)
        self.wished().change_stage(named | change)

    def wished(self) -> Wishes:
        """What is to happen with the success."""
        if self._wishes is None:
            self._wishes = Wishes()
        return self._wishes
