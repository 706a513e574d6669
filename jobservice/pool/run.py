"""Owns one run: the execution of one claimed job, from the first check to the removal of its workspace.

Started by the pool in a task of its own. It writes no state: it reports its start and its outcome, and whatever the
job does, nothing but a cancellation by the pool comes out of it.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, NamedTuple, Protocol, TypeAlias

from structlog.typing import FilteringBoundLogger

from jobservice.domain.claimed import ClaimedJob
from jobservice.domain.errors import JobTimeout
from jobservice.domain.outcomes import EXPIRED_MESSAGE, Aborted, Failed, Outcome, Succeeded
from jobservice.pool.claimed_info import parameters_of
from jobservice.pool.executors import EndedElsewhere, Executor
from jobservice.pool.failures import failed
from jobservice.pool.run_context import RunContext
from jobservice.pool.verdict import Verdict
from jobservice.pool.workspace import Workspaces
from jobservice.sdk.definition import JobDefinition
from jobservice.sdk.registry import Registry
from jobservice.sdk.results import encode_result


class RunReports(Protocol):
    """Where a run tells its start and its end. Neither call waits, neither raises."""

    def start(self, run: "Run") -> None: ...
    def finish(self, run: "Run", outcome: Outcome) -> None: ...


UnknownClass: TypeAlias = Callable[["Run"], Awaitable[Outcome]]
"""Decides about a job whose class this daemon does not know: HandedBack or Failed."""


class _Prepared(NamedTuple):
    job: Any
    arguments: dict[str, Any]
    executor: Executor
    definition: JobDefinition


class Run(RunContext):
    """One run of one job, and the JobContext of that job."""

    __slots__ = (
        "_executed",
        "_executing",
        "_executors",
        "_given_up",
        "_grace",
        "_on_stuck",
        "_registry",
        "_reports",
        "_unknown_class",
        "_workspaces",
        "abandoned",
        "ended",
        "outcome",
        "started_at",
    )

    def __init__(
        self,
        *,
        claimed: ClaimedJob,
        registry: Registry,
        executors: Mapping[str, Executor],
        workspaces: Workspaces,
        reports: RunReports,
        log: FilteringBoundLogger,
        unknown_class: UnknownClass,
        stop_grace: float | None = None,
        on_stuck: Callable[["Run"], None] | None = None,
    ) -> None:
        """`stop_grace` is the seconds from a stop or a timeout until a run that goes on is given up; None: never.

        `on_stuck` is told of one that nothing can end: its outcome is reported, and its task goes on.
        """
        super().__init__(claimed=claimed, log=log)
        self.started_at: float | None = None
        """`time.monotonic()` at the report of the start."""
        self.ended = False
        self.abandoned = False
        """Whether the job belongs to somebody else by now: nothing is reported."""
        self.outcome: Outcome | None = None
        """What was reported of its end, or would have been."""
        self._registry = registry
        self._executors = executors
        self._workspaces = workspaces
        self._reports = reports
        self._unknown_class = unknown_class
        self._executing: Executor | None = None
        self._executed: _Prepared | None = None
        self._given_up = False
        self._grace = stop_grace
        self._on_stuck = on_stuck

    async def execute(self) -> None:
        """Runs the job to its outcome and reports it. Raises CancelledError when the pool cancels it, nothing else."""
        self._ending.watch_over(asyncio.current_task())
        try:
            prepared = await self._prepare()
            if isinstance(prepared, _Prepared):
                outcome = await self._execute(prepared)
            else:
                outcome = prepared
        finally:
            self.ended = True
            self._ending.disarm()
            self._executed = None  # its job names this run: left so, every job would be work for the garbage collection
        self._report_finish(outcome)
        await self._remove_workspace()

    # What others may ask of a run, at any time.

    def request_stop(self, reason: str) -> None:
        """Ends the run ABORTED: before its start at once, on the event loop by a cancel, on a thread at its next check.

        From the event loop's thread, or from the job itself. The first reason stands.
        """
        if not self.ended and self._ending.stop_reason is None:
            self._ending.stop_reason = reason
            self._end_now()

    def leave_soon(self) -> None:
        """For a drain: ends the run HANDED BACK at its next checkpoint, where its job has such."""
        if not self.ended and self._executing is not None and self._executing.checkpoints:
            self._ending.leaving = self._ending.leaving or "the daemon drains"

    def hand_back(self) -> None:
        """Ends the run HANDED BACK, for a drain. A job on a thread is left to end with the process."""
        self._leave("the daemon hands its jobs back")

    def keep_back(self, reason: str) -> None:
        """Ends the run HANDED BACK while it waits for what it runs in. One that has begun, or is about to, goes on."""
        if self._executing is None or self._executed is None or self.started_at is not None:
            return
        if not self._executing.has_place(self._executed.job):
            self._leave(reason)

    def abandon(self) -> None:
        """Ends the run and reports nothing: the job belongs to somebody else by now. A thread is waited for."""
        self.abandoned = True
        if self._executing is None or self._executing.cancellable or self._executing.begin:
            self._leave("the run was lost")
        else:
            self._ending.leaving = "the run was lost"

    def estimated_completion_seconds(self) -> float | None:
        """Seconds until the end if it goes on as so far; None while nothing can be said."""
        if self.started_at is None:
            return None
        return self.progress.remaining_seconds(time.monotonic() - self.started_at)

    # The steps, in their order.

    async def _prepare(self) -> _Prepared | Outcome:
        if self.claimed.expired:
            return Failed("Expired", EXPIRED_MESSAGE)
        if self.ending is not None:
            return self._verdict().on_ending()
        definition = self._registry.find(self.claimed.card.job_class)
        if definition is None:
            return await self._without_class()
        try:
            return self._made_ready(definition)
        except BaseException as error:  # noqa: BLE001 - annotations' validators and __init__ are a user's code
            return failed(error)

    async def _without_class(self) -> Outcome:
        try:
            outcome = await self._unknown_class(self)
        except Exception as error:  # noqa: BLE001 - no job may stay TO_BE_RUN for an error of ours
            outcome = failed(error)
        return outcome if self.ending is None else self._verdict().on_ending()

    def _made_ready(self, definition: JobDefinition) -> _Prepared:
        arguments = definition.validator.validate_json(parameters_of(self.claimed))
        if definition.needs_workspace:
            self.workspace = self._workspaces.make(self.job_id, self.run)
        executor = self._executors[definition.executor]
        return _Prepared(executor.make(definition, self), arguments, executor, definition)

    def _report_start(self) -> None:
        self.started_at = time.monotonic()
        self._reports.start(self)

    async def _execute(self, prepared: _Prepared) -> Outcome:
        self._executing, self._executed = prepared.executor, prepared
        try:
            if prepared.executor.begin is not None:
                await prepared.executor.begin(prepared.job)
            self._report_start()
            if limit := self._limit_of(prepared):
                self._ending.after(limit, self._time_out)
            value = await prepared.executor.execute(prepared.job, prepared.arguments)
            outcome: Outcome = self._succeeded(value)
        except EndedElsewhere as ended:
            outcome = self._verdict().on_outcome_elsewhere(ended.outcome)
        except BaseException as error:  # noqa: BLE001 - SystemExit in a job would end the event loop
            outcome = self._verdict().on_error(error)
        finally:
            self._executing = None
        if self._ending.cancel_sent:
            await self._ending.settle_cancel()
        return outcome

    def _report_finish(self, outcome: Outcome) -> None:
        if self._given_up:
            return
        self.outcome = outcome
        if self.progress.info is not None:
            self.progress.info.close(time.monotonic(), failed=isinstance(outcome, Failed | Aborted))
        if not self.abandoned:
            self._reports.finish(self, outcome)

    async def _remove_workspace(self) -> None:
        if self.workspace is not None:
            await asyncio.to_thread(self._workspaces.remove, self.job_id, self.run)

    # How it ended.

    def _succeeded(self, value: object) -> Succeeded:
        result, result_class = encode_result(value)
        if self._wishes is None:
            return Succeeded(result=result, result_class=result_class)
        return self._wishes.succeeded(result, result_class)

    def _verdict(self) -> Verdict:
        executed = self._executed if self.started_at is not None else None
        definition = executed.definition if executed is not None else None
        return Verdict(claimed=self.claimed, ending=self._ending, definition=definition, log=self.log)

    # Ending it from outside.

    def _leave(self, reason: str) -> None:
        if self.ended:
            return
        self._ending.leaving = self._ending.leaving or reason
        if self._executing is not None:
            self._ending.cancel()

    def _time_out(self) -> None:
        if self._executed is not None and self._ending.stop_reason is None:
            self._ending.timed_out = JobTimeout(self._limit_of(self._executed))
            self._end_now()

    def _limit_of(self, prepared: _Prepared) -> float:
        return self.claimed.timeout or prepared.definition.timeout or 0.0

    def _end_now(self) -> None:
        """Asks the job to end, and gives the run up when its grace is over."""
        if self._executing is None or self._executed is None:
            return
        if self._executing.cancellable:
            self._ending.cancel()
        else:
            self._executing.ask_to_end(self._executed.job, self.ending or "")
        if self._grace is not None:
            self._ending.after(self._grace, self._give_up)

    def _give_up(self) -> None:
        """It has not ended: a thread is left, a process is killed, a task on the loop goes on without a say."""
        if self._executing is None or self._given_up:
            return
        self.log.error("run.give_up", reason=self.ending, seconds=self._grace)
        self._report_finish(self._verdict().on_going_on(self._grace))
        self._given_up = True
        if not self._executing.cancellable:
            self._ending.cancel()
        elif self._on_stuck is not None:
            self._on_stuck(self)
