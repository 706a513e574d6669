"""The bounded pool: slots, and the tasks in which runs execute. One capacity counts all runs of every executor."""

import asyncio
from collections.abc import Callable, Mapping

from structlog.typing import FilteringBoundLogger

from jobservice.domain.claimed import ClaimedJob
from jobservice.domain.outcomes import Aborted, Failed, HandedBack, Outcome
from jobservice.pool.executors import Executor
from jobservice.pool.in_flight import InFlight
from jobservice.pool.run import Run, RunReports, UnknownClass
from jobservice.pool.slot_time import Held, SlotTime
from jobservice.pool.workspace import Workspaces
from jobservice.sdk.registry import Registry

UNCOMMITTED_PER_SLOT = 4
"""Ended runs, per slot, that may wait for their commit before no more are claimed; at least UNCOMMITTED_MIN."""
UNCOMMITTED_MIN = 2_000
RESULTS_UNCOMMITTED = 64 * 1024 * 1024
"""Characters of results that may wait for their commit before no more are claimed."""


class Pool:
    """Starts runs, counts slots, and tells when they come free."""

    def __init__(
        self,
        *,
        capacity: int,
        in_flight: InFlight,
        registry: Registry,
        executors: Mapping[str, Executor],
        workspaces: Workspaces,
        reports: RunReports,
        unknown_class: UnknownClass,
        slot_freed: Callable[[], None],
        stop_grace: float,
        log: FilteringBoundLogger,
    ) -> None:
        """`stop_grace` is the seconds that a run may take to end after a stop or its timeout."""
        self.capacity = capacity
        self._in_flight = in_flight
        self._registry = registry
        self._executors = executors
        self._workspaces = workspaces
        self._reports = reports
        self._unknown_class = unknown_class
        self._slot_freed = slot_freed
        self._log = log
        self._stop_grace = stop_grace
        self._stuck: set[asyncio.Task[None]] = set()
        self._tasks: dict[asyncio.Task[None], Held] = {}

    @property
    def running(self) -> int:
        """Slots in use."""
        return len(self._tasks)

    @property
    def stuck(self) -> int:
        """Runs that were given up and have not ended. Of as many as there are slots, these are given to others."""
        return len(self._stuck) + sum(executor.stuck for executor in self._executors.values())

    @property
    def free(self) -> int:
        """Slots that a claim may ask for now."""
        beyond = max(0, self.stuck - self.capacity)  # or a class that hears no stop would fill the process with threads
        return 0 if self.full else max(0, self.capacity - len(self._tasks) - beyond)

    @property
    def full(self) -> bool:
        """Whether so much waits for its commit that nothing more may begin, even with slots free."""
        uncommitted = len(self._in_flight) - len(self._tasks)
        return (
            uncommitted > max(UNCOMMITTED_MIN, UNCOMMITTED_PER_SLOT * self.capacity)
            or self._in_flight.results_held > RESULTS_UNCOMMITTED
        )

    @property
    def slot_time(self) -> SlotTime:
        """What claims are told of the runs."""
        return self._in_flight.slot_time

    def start(self, claimed: ClaimedJob, concurrency_key: tuple[str, str] | None) -> None:
        """Begins one run in a task of its own."""
        run = Run(
            claimed=claimed,
            registry=self._registry,
            executors=self._executors,
            workspaces=self._workspaces,
            reports=self._reports,
            log=self._log,
            unknown_class=self._unknown_class,
            stop_grace=self._stop_grace,
            on_stuck=self._give_up,
        )
        held = self._in_flight.add(run, concurrency_key)
        task = asyncio.create_task(run.execute())
        self._tasks[task] = held
        task.add_done_callback(self._ended)

    def leave_soon(self) -> None:
        """A drain has begun: jobs with checkpoints end at the next one."""
        for held in list(self._tasks.values()):
            held.run.leave_soon()

    async def wait_ended(self, *, within: float) -> bool:
        """Whether all runs have ended within so many seconds."""
        if self._tasks:
            await asyncio.wait(list(self._tasks), timeout=within)
        return not self._tasks

    def hand_back_all(self) -> None:
        """Asks all runs to end without an end of their jobs; threads go on until the process ends."""
        for held in list(self._tasks.values()):
            held.run.hand_back()

    def abandon_all(self) -> None:
        """The daemon is lost: its runs end, and nothing that they say is written."""
        for held in list(self._tasks.values()):
            held.run.abandon()

    def _give_up(self, run: Run) -> None:
        """A task that does not end: its slot is free, itself it is only remembered."""
        for task, held in list(self._tasks.items()):
            if held.run is run:
                self._stuck.add(task)
                self._free(task)

    def _ended(self, task: asyncio.Task[None]) -> None:
        if task in self._stuck:
            self._stuck.discard(task)
            return
        self._free(task)

    def _free(self, task: asyncio.Task[None]) -> None:
        held = self._tasks.pop(task)
        self._in_flight.freed(held)
        if task.done() and (task.cancelled() or task.exception() is not None):
            self._end_untold(held.run, None if task.cancelled() else task.exception())
        self._slot_freed()

    def _end_untold(self, run: Run, error: BaseException | None) -> None:
        """A run never goes without an end: its job would be RUNNING for ever. The pool itself cancels no task."""
        self._log.error("run.error", job_id=str(run.job_id), run=run.run, exc_info=error)
        outcome: Outcome = Failed("CancelledError", "the job cancelled itself, or its run came to an end unforeseen")
        if run.stop_reason is not None:
            outcome = Aborted(run.stop_reason)
        elif run.ending is not None:
            outcome = HandedBack(run.ending)
        if run.outcome is None and not run.abandoned:
            self._reports.finish(run, outcome)
