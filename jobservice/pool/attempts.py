"""Owns what follows a failed run: the end of the job, or another attempt later."""

from structlog.typing import FilteringBoundLogger

from jobservice.domain.claimed import ClaimedJob
from jobservice.domain.errors import DefinitionError, InvalidSubmission, Retry
from jobservice.domain.outcomes import Failed, Retried
from jobservice.domain.retry import retry_delay
from jobservice.pool.failures import failed
from jobservice.sdk.definition import JobDefinition
from jobservice.sdk.results import ResultNotEncodable
from jobservice.steps.book import AlreadyComplete, RestartPrevented, StartLimitReached
from jobservice.steps.parts_run import PartsFailed

_ALWAYS_SO = (
    DefinitionError,
    InvalidSubmission,
    ResultNotEncodable,
    AlreadyComplete,
    RestartPrevented,
    StartLimitReached,
    PartsFailed,
)
"""Another attempt would end in the same way: errors in the job's own writing, and parts that had their own attempts."""


def outcome_of_failure(
    error: BaseException, claimed: ClaimedJob, definition: JobDefinition, log: FilteringBoundLogger
) -> Failed | Retried:
    """What `error`, raised by the job, makes of its run. Never raises: a policy that breaks ends the job FAILED."""
    # `raise Retry(…) from error`: the reader wants the error.
    told = failed(error.__cause__ if isinstance(error, Retry) and error.__cause__ is not None else error)
    if isinstance(error, _ALWAYS_SO):
        return told
    try:
        delay = retry_delay(
            error,
            attempt=claimed.attempt,
            max_attempts=claimed.max_attempts or definition.max_attempts,
            retry_on=definition.retry_on,
            backoff=definition.backoff,
        )
    except Exception as broken:
        card = claimed.card
        log.error("retry.refuse", job_id=str(card.job_id), run=claimed.run, job_class=card.job_class, exc_info=broken)
        return told
    return told if delay is None else Retried(told, delay)
