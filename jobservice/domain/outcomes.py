"""How a run ended: a value, never an exception."""

from dataclasses import dataclass

EXPIRED_MESSAGE = "Expiration date reached"


@dataclass(frozen=True, slots=True)
class Succeeded:
    """The job returned. `result` is JSON text (None: nothing returned); `next_jobs` is a JSON array to submit.

    `stage_changes` is what it asked for of stages: a JSON array for the SQL function `change_stages`.
    """

    result: str | None = None
    result_class: str | None = None
    next_jobs: str | None = None
    stage_changes: str | None = None


@dataclass(frozen=True, slots=True)
class Failed:
    """The job raised, or could not be prepared."""

    error_type: str
    message: str
    stack_trace: str | None = None


@dataclass(frozen=True, slots=True)
class Retried:
    """The run failed, and another one follows `delay` seconds later."""

    failed: Failed
    delay: float


@dataclass(frozen=True, slots=True)
class Parked:
    """The job goes on when the parts of one of its steps have ended. `plan`: JSON for the SQL function start_parts."""

    plan: str


@dataclass(frozen=True, slots=True)
class Aborted:
    """The job was stopped, or stopped itself."""

    reason: str


@dataclass(frozen=True, slots=True)
class HandedBack:
    """The run ends without an end of the job: it is queued again and no attempt is spent."""

    reason: str


Outcome = Succeeded | Failed | Retried | Parked | Aborted | HandedBack
