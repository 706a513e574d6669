"""Owns what a job may ask of stages with its success, as JSON for the SQL function `change_stages`.

The types are checked here, at once; whether the stage still takes it is decided when the success is recorded.
"""

import math
from collections.abc import Mapping
from typing import Any, TypeAlias
from uuid import UUID

from jobservice.domain.errors import InvalidSubmission, JobError
from jobservice.sdk.job_info import JobInfo
from jobservice.sdk.json_values import PARAMETERS_DEPTH_MAX, NotJson, to_plain
from jobservice.sdk.pipeline import StageInfo, stage_jobs

StageLike: TypeAlias = StageInfo | UUID | str
"""A stage as it was read, its id, or its name."""
StageJob: TypeAlias = JobInfo | Mapping[str, Any]


class NoStage(JobError):
    """The job asks something of its stage, and belongs to none."""

    def __init__(self) -> None:
        super().__init__("the job belongs to no stage: only jobs of a pipeline can change its stages")


def merge(patch: Mapping[str, Any]) -> dict[str, Any]:
    """`patch` is to be merged into a stage's metadata, member by member; None removes one. Raises InvalidSubmission."""
    plain = _plain("patch", patch)
    if not isinstance(plain, dict):
        raise InvalidSubmission(f"patch is an object, not {type(patch).__name__}", field="patch")
    return {"merge": plain}


def increment(key: str, n: float) -> dict[str, Any]:
    """`n` is to be added to the member `key`; none there counts as 0. Raises InvalidSubmission."""
    if not isinstance(key, str):
        raise InvalidSubmission(f"key is a text, not {type(key).__name__}", field="key")
    if isinstance(n, bool) or not isinstance(n, int | float) or not math.isfinite(n):
        raise InvalidSubmission(f"n is a number, not {n!r}", field="n")
    return {"increment": _plain("key", key), "by": n}


def more_jobs(jobs: tuple[StageJob, ...]) -> dict[str, Any]:
    """`jobs` are to be added. Raises InvalidSubmission."""
    return {"jobs": stage_jobs(jobs)}


def target(stage: StageLike | None, *, own: UUID, pipeline: UUID) -> dict[str, Any]:
    """How a change names its stage: always one of the job's own pipeline."""
    members = {"pipeline_id": str(pipeline)}
    if stage is None:
        return members | {"stage_id": str(own)}
    if isinstance(stage, StageInfo):
        return members | {"stage_id": str(stage.stage_id)}
    if isinstance(stage, UUID):
        return members | {"stage_id": str(stage)}
    if not isinstance(stage, str):
        raise InvalidSubmission(f"a stage is a StageInfo, an id or a name, not {type(stage).__name__}", field="stage")
    try:
        return members | {"stage_id": str(UUID(stage))}
    except ValueError:
        return members | {"stage": _plain("stage", stage), "from": str(own)}


def _plain(name: str, value: Any) -> Any:
    try:
        return to_plain(value, PARAMETERS_DEPTH_MAX)
    except NotJson as error:
        raise InvalidSubmission(f"{name}{error.where}: {error.reason}", field=name + error.where) from None
