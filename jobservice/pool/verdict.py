"""Owns what the end of a run makes of its job: from what it raised, and from why it was to end, to its outcome.

Asked by the run, which reports the outcome; it ends nothing itself.
"""

import asyncio

from structlog.typing import FilteringBoundLogger

from jobservice.domain.claimed import ClaimedJob
from jobservice.domain.outcomes import Aborted, Failed, HandedBack, Outcome, Retried
from jobservice.pool.attempts import outcome_of_failure
from jobservice.pool.ending import Ending
from jobservice.pool.failures import abort_in, failed
from jobservice.sdk.definition import JobDefinition


class Verdict:
    """On one run that has not succeeded, as it stands now."""

    __slots__ = ("_claimed", "_definition", "_ending", "_log")

    def __init__(
        self, *, claimed: ClaimedJob, ending: Ending, definition: JobDefinition | None, log: FilteringBoundLogger
    ) -> None:
        """`definition` is None where the run has not started: before that nothing is retried."""
        self._claimed = claimed
        self._ending = ending
        self._definition = definition
        self._log = log

    def on_error(self, error: BaseException) -> Outcome:
        """What `error`, which came out of the job, makes of it. Raises what is no end of the job, such as a cancel."""
        if isinstance(error, GeneratorExit) and not _loop_is_running():
            raise error  # the process throws an unfinished coroutine away; its job has no end
        if self._ending.cancel_sent:
            return self._on_cancel(error)
        if self._ending.cancelled_by_others:
            raise asyncio.CancelledError
        aborted = abort_in(error)
        if aborted is None:
            return self._on_failure(error)
        return self.on_ending() if aborted.reason == self._ending.reason else Aborted(aborted.reason)

    def on_ending(self) -> Outcome:
        """What it makes of the job that the run was to end, and did."""
        ending = self._ending
        if ending.stop_reason is not None:
            return Aborted(ending.stop_reason)
        if ending.timed_out is not None:
            return self._on_failure(ending.timed_out)
        return HandedBack(ending.leaving or "")

    def on_outcome_elsewhere(self, outcome: Outcome) -> Outcome:
        """The other process only knows that it was asked to end, this one why."""
        asked = isinstance(outcome, Aborted) and outcome.reason == self._ending.reason
        return self.on_ending() if asked else outcome

    def on_going_on(self, grace: float | None) -> Outcome:
        """What it makes of the job that the run was to end and has not, after `grace` seconds."""
        beyond = f"; the run did not end within {grace:g} s and was given up"
        if self._ending.stop_reason is not None:
            return Aborted(self._ending.stop_reason + beyond)
        # Not to be retried: the old run may still be at work.
        timed_out = failed(self._ending.timed_out or TimeoutError())
        return Failed(timed_out.error_type, timed_out.message + beyond)

    def _on_cancel(self, error: BaseException) -> Outcome:
        # Whatever a job raises when it is cancelled, it did not fail by itself.
        if not isinstance(error, asyncio.CancelledError) and abort_in(error) is None:
            ended_in = failed(error)
            self._log.warning("run.error_after_cancel", error_type=ended_in.error_type, message=ended_in.message)
        return self.on_ending()

    def _on_failure(self, error: BaseException) -> Failed | Retried:
        if self._definition is None:
            return failed(error)
        return outcome_of_failure(error, self._claimed, self._definition, self._log)


def _loop_is_running() -> bool:
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return False
    return True
