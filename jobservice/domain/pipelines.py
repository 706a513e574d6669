"""The states of pipelines and stages, which may follow which, and what users may do to them, as data. SQL enforces it.

A pair (status, verb) that is missing is not legal: nothing is written, and the caller is told the status.
"""

from enum import StrEnum
from typing import Final


class PipelineStatus(StrEnum):
    """Where a pipeline or a stage stands. A stage is final only when all its jobs are."""

    PENDING = "PENDING"
    """Not started; a stage: not open."""
    QUEUED = "QUEUED"
    """Started, a stage: open, and no job of it runs yet."""
    RUNNING = "RUNNING"
    """A job of it has been RUNNING."""
    SUCCEEDED = "SUCCEEDED"
    FAILED = "FAILED"
    ABORTED = "ABORTED"

    __hash__ = str.__hash__

    @property
    def final(self) -> bool:
        """Whether it has ended."""
        return self in ENDED


ENDED: Final = frozenset({PipelineStatus.SUCCEEDED, PipelineStatus.FAILED, PipelineStatus.ABORTED})
STARTED: Final = frozenset({PipelineStatus.QUEUED, PipelineStatus.RUNNING})
UNENDED: Final = STARTED | {PipelineStatus.PENDING}


PIPELINE_CHANGES: Final[dict[PipelineStatus, frozenset[PipelineStatus]]] = {
    PipelineStatus.PENDING: frozenset({PipelineStatus.QUEUED, PipelineStatus.ABORTED}),
    PipelineStatus.QUEUED: ENDED | {PipelineStatus.RUNNING},  # at once where all stages are empty, all jobs expired
    PipelineStatus.RUNNING: ENDED,
    PipelineStatus.SUCCEEDED: frozenset(),
    PipelineStatus.FAILED: frozenset({PipelineStatus.QUEUED}),
    PipelineStatus.ABORTED: frozenset({PipelineStatus.QUEUED}),
}
"""Status → those that may follow; FAILED and ABORTED end with a restart only."""

STAGE_CHANGES: Final[dict[PipelineStatus, frozenset[PipelineStatus]]] = {
    PipelineStatus.PENDING: frozenset({PipelineStatus.QUEUED, PipelineStatus.ABORTED}),
    PipelineStatus.QUEUED: ENDED | {PipelineStatus.RUNNING},
    PipelineStatus.RUNNING: ENDED | {PipelineStatus.RUNNING},  # how far it is, told at most once a second
    PipelineStatus.SUCCEEDED: frozenset(),
    PipelineStatus.FAILED: frozenset({PipelineStatus.PENDING}),
    PipelineStatus.ABORTED: frozenset({PipelineStatus.PENDING}),
}
"""The same for a stage: restarted, it waits for its turn again."""


class OnFailure(StrEnum):
    """What a stage does when more of its jobs fail for good, or are aborted, than it allows."""

    FINISH_STAGE = "finish_stage"
    """The other jobs still run; no later stage opens."""
    ABORT_STAGE = "abort_stage"
    """Waiting jobs are aborted and running ones stopped at once."""
    CONTINUE = "continue"
    """A share of them may fail: `allowed_failures`."""


class PipelineVerb(StrEnum):
    """What users do to pipelines: the words of SQL, methods, commands and tests."""

    START = "start"
    PAUSE = "pause"
    RESUME = "resume"
    STOP = "stop"
    SEAL = "seal"
    RESTART = "restart"
    SET_PRIORITY = "set_priority"
    UPDATE_METADATA = "update_metadata"
    DELETE = "delete"


class StageVerb(StrEnum):
    """What users do to stages."""

    RELEASE = "release"
    SEAL = "seal"
    UPDATE_METADATA = "update_metadata"
    INCREMENT_METADATA = "increment_metadata"


PIPELINE_VERBS: Final[dict[PipelineVerb, frozenset[PipelineStatus]]] = {
    PipelineVerb.START: frozenset({PipelineStatus.PENDING}),
    PipelineVerb.PAUSE: STARTED,
    PipelineVerb.RESUME: STARTED,
    PipelineVerb.STOP: UNENDED,
    PipelineVerb.SEAL: UNENDED,  # where it is open
    PipelineVerb.RESTART: frozenset({PipelineStatus.FAILED, PipelineStatus.ABORTED}),
    PipelineVerb.SET_PRIORITY: UNENDED,
    PipelineVerb.UPDATE_METADATA: frozenset(PipelineStatus),
    PipelineVerb.DELETE: ENDED,
}
"""Verb → the statuses in which it is legal. While a pipeline is ending, `start`, `pause` and `resume` are not."""

STAGE_VERBS: Final[dict[StageVerb, frozenset[PipelineStatus]]] = {
    StageVerb.RELEASE: UNENDED,
    StageVerb.SEAL: UNENDED,  # where it is open
    StageVerb.UPDATE_METADATA: frozenset(PipelineStatus),
    StageVerb.INCREMENT_METADATA: frozenset(PipelineStatus),
}
