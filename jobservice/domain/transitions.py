"""The table of legal status changes, as data. SQL enforces it; tests compare the two, state by verb.

A pair (status, verb) that is missing is not legal: nothing is written, and the caller is told the status.
"""

from enum import StrEnum
from typing import Final

from jobservice.domain.states import JobStatus

_PENDING, _QUEUED = JobStatus.PENDING, JobStatus.QUEUED
_TO_BE_RUN, _RUNNING = JobStatus.TO_BE_RUN, JobStatus.RUNNING
_SUCCEEDED, _FAILED, _ABORTED = JobStatus.SUCCEEDED, JobStatus.FAILED, JobStatus.ABORTED


class Verb(StrEnum):
    """One word per transition: the same in SQL, methods, commands, logs and tests."""

    ENQUEUE = "enqueue"
    CLAIM = "claim"
    START = "start"
    FINISH = "finish"
    RETRY = "retry"
    PARK = "park"
    HAND_BACK = "hand_back"
    RESCUE = "rescue"
    STOP = "stop"
    EXPIRE = "expire"
    RESTART = "restart"


TRANSITIONS: Final[dict[tuple[JobStatus, Verb], frozenset[JobStatus]]] = {
    (_PENDING, Verb.ENQUEUE): frozenset({_QUEUED}),
    (_QUEUED, Verb.CLAIM): frozenset({_TO_BE_RUN}),
    (_TO_BE_RUN, Verb.START): frozenset({_RUNNING}),
    # An end before the start: preparation failed, or a stop came first.
    (_TO_BE_RUN, Verb.FINISH): frozenset({_FAILED, _ABORTED}),
    (_RUNNING, Verb.FINISH): frozenset({_SUCCEEDED, _FAILED, _ABORTED}),
    (_RUNNING, Verb.RETRY): frozenset({_PENDING, _QUEUED, _ABORTED}),
    # It goes on when the parts of one of its steps have ended.
    (_RUNNING, Verb.PARK): frozenset({_PENDING, _ABORTED}),
    # A job with a stop mark is never queued again: it ends ABORTED.
    (_TO_BE_RUN, Verb.HAND_BACK): frozenset({_QUEUED, _ABORTED}),
    (_RUNNING, Verb.HAND_BACK): frozenset({_QUEUED, _ABORTED}),
    # Lost too often, a job is poison and ends FAILED.
    (_TO_BE_RUN, Verb.RESCUE): frozenset({_QUEUED, _ABORTED, _FAILED}),
    (_RUNNING, Verb.RESCUE): frozenset({_QUEUED, _ABORTED, _FAILED}),
    (_PENDING, Verb.STOP): frozenset({_ABORTED}),
    (_QUEUED, Verb.STOP): frozenset({_ABORTED}),
    # A live job only gets the stop mark; its run ends it.
    (_TO_BE_RUN, Verb.STOP): frozenset({_TO_BE_RUN}),
    (_RUNNING, Verb.STOP): frozenset({_RUNNING}),
    (_PENDING, Verb.EXPIRE): frozenset({_FAILED}),
    (_QUEUED, Verb.EXPIRE): frozenset({_FAILED}),
    # A job of a pipeline waits for its stage to open again.
    (_FAILED, Verb.RESTART): frozenset({_QUEUED, _PENDING}),
    (_ABORTED, Verb.RESTART): frozenset({_QUEUED, _PENDING}),
}


def is_legal(status: JobStatus, verb: Verb) -> bool:
    """Whether `verb` may be applied to a job in `status`."""
    return (status, verb) in TRANSITIONS


def targets(status: JobStatus, verb: Verb) -> frozenset[JobStatus]:
    """The states that `verb` may lead to from `status`; empty when it is not legal."""
    return TRANSITIONS.get((status, verb), frozenset())
