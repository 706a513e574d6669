"""One run of a step that was begun: a task, or the chunks of a step or a part; told to listeners, ended in the book."""

import asyncio
import json
from collections.abc import Awaitable, Callable, Iterator
from contextlib import nullcontext, suppress
from copy import copy
from dataclasses import replace
from typing import Any

from jobservice.domain.errors import DefinitionError, JobAborted
from jobservice.sdk.abstract_job import AbstractJob
from jobservice.sdk.json_values import RESULT_DEPTH_MAX, dump, to_plain
from jobservice.sdk.steps import At, Chunk, Counts, Partition, PartResult, Range, Task
from jobservice.steps.asking import ask
from jobservice.steps.book import WHOLE, Book, Instance, StepState
from jobservice.steps.calling import Listeners, call, takes
from jobservice.steps.checkpoints import RunLost
from jobservice.steps.chunk_run import ChunkRun
from jobservice.steps.connections import RECONNECTS, ConnectionGone, StepConnections, pause_before
from jobservice.steps.context import Context
from jobservice.steps.step_progress import StepProgress
from jobservice.steps.tries import delay_of

Plan = Callable[..., Any]
EndOfChunks = Callable[[Chunk, StepState, Counts], Awaitable[None]]

DESCRIPTION_MAX = 2_000
CANCELLED_TOLD_WITHIN = 2.0
"""Seconds."""


class StepRun:
    """`task`, `chunks`, `part`: each raises what the step raises, after it was written down."""

    def __init__(
        self,
        *,
        job: AbstractJob,
        instance: Instance,
        context: Context,
        book: Book,
        connections: StepConnections,
        listeners: Listeners,
        leaving: Callable[[], bool],
    ) -> None:
        """`leaving`: whether the run is to end without an end of its job."""
        self.job = job
        self.instance = instance
        self.context = context
        self.book = book
        self.connections = connections
        self._listeners = listeners
        self._leaving = leaving
        self.progress = StepProgress(job, 0, 0, 1, 1)

    async def task(self, step: Task, state: StepState) -> None:
        """The step's function, again as its policy says."""
        await self.with_listeners("step", step.name, self._task(step, state))

    async def chunks(self, step: Chunk, state: StepState) -> None:
        """All chunks of a step without partitions: its only part is aggregated as several would be."""
        await self.with_listeners("step", step.name, self._whole(step, state))

    async def part(self, step: Chunk, state: StepState) -> None:
        """All chunks of one part."""
        await self.with_listeners("part", step.name, self._chunks(step, state, self._end_part))

    async def ranges(self, plan: Plan, step: Chunk, state: StepState) -> list[Range]:
        """As the plan makes them; what it raises is written down. Raises DefinitionError for more than may be."""
        try:
            ranges = list(await self._asked(plan, step.partitions))
            if len(ranges) > step.partitions:
                raise DefinitionError(
                    f"step {step.name}: its plan made {len(ranges)} parts of at most {step.partitions}"
                )
            made = [each if isinstance(each, Range) else Range(*each) for each in ranges]
            return [Range(_as_stored(each.low), _as_stored(each.high)) for each in made]
        except Exception as error:
            await self.end_badly(state, Counts(), error)
            raise

    async def is_left_out(self, step: Task | Chunk, state: StepState) -> bool:
        """Where its condition says so, the step is SKIPPED."""
        if step.when is None:
            return False
        try:
            wanted = await self._asked(step.when)
        except Exception as error:
            await self.end_badly(state, Counts(), error)
            raise
        if wanted:
            return False
        end, shared = self.book.end, self.instance.shared
        await self.connections.settled(
            lambda c: end(c, self.instance.id, state, "SKIPPED", did=Counts(), shared=shared)
        )
        return True

    async def with_listeners(self, what: str, name: str, work: Awaitable[None]) -> None:
        """`before_…`, the work, and `after_…` however it ends."""
        await self._listeners.tell(f"before_{what}", self.context, name)
        error: BaseException | None = None
        try:
            await work
        except BaseException as raised:
            error = raised
            raise
        finally:
            await self._listeners.tell(f"after_{what}", self.context, name, error)

    async def end_well(self, connection: Any, state: StepState, did: Counts, value: object = None) -> None:
        """SUCCEEDED, with what is shared from here on. `value` is what the function returned."""
        if value is not None and self.context.exit_description is None:
            self.context.exit_description = str(value)[:DESCRIPTION_MAX]
        await self.book.end(
            connection,
            self.instance.id,
            state,
            "SUCCEEDED",
            did=did,
            context=self.context.kept,
            shared=self.instance.shared if state.part == WHOLE else None,
            exit_description=self.context.exit_description,
        )

    async def end_badly(self, state: StepState, did: Counts, error: BaseException) -> None:
        """Told as well as it can be: why it has failed is more important than that it was written down."""
        status = "FAILED"
        told_error: BaseException | None = error
        if isinstance(error, JobAborted):
            status, told_error = ("HANDED_BACK" if self._leaving() else "ABORTED"), None
        end = self.book.end
        try:
            await self.connections.settled(lambda c: end(c, self.instance.id, state, status, did=did, error=told_error))
        except Exception as failed:  # noqa: BLE001 - the step's own error comes first
            self.job.log.warning("step.end_untold", step=state.step, reason=str(failed))

    async def _end_cancelled(self, state: StepState, did: Counts) -> None:
        """Whoever cancels waits for the end of the run: so no longer than a moment."""
        with suppress(TimeoutError):
            async with asyncio.timeout(CANCELLED_TOLD_WITHIN):
                await self.end_badly(state, did, JobAborted("cancelled"))

    async def _task(self, step: Task, state: StepState) -> None:
        attempt = 1
        while True:
            before = self.context.remember()
            try:
                if (reason := self.job._context.ending) is not None:
                    raise JobAborted(reason)
                await self._task_once(step, state)
                return
            except asyncio.CancelledError:
                await self._end_cancelled(state, Counts())
                raise
            except Exception as error:
                self.context.go_back(before)
                policy = step.retry
                gives_up = policy is None or attempt > policy.times or not isinstance(error, policy.on)
                if policy is None or gives_up or isinstance(error, JobAborted | RunLost):
                    await self.end_badly(state, Counts(), error)
                    raise
                await self._listeners.tell("on_retry", self.context, "task", error, attempt)
                await asyncio.sleep(delay_of(policy, attempt, error))
                attempt += 1

    async def _task_once(self, step: Task, state: StepState) -> None:
        if step.transaction:
            await self.in_one_transaction(state, Counts, lambda: call(step.run, self.context))
            return
        holds = self.connections.for_task(self._ending) if takes(step.run, 1) else nullcontext()
        async with holds as connection:
            self.context.connection = connection
            try:
                value = await call(step.run, self.context)
            finally:
                self.context.connection = None
        await self.connections.settled(lambda c: self.end_well(c, state, Counts(), value))

    async def in_one_transaction(
        self, state: StepState, did: Callable[[], Counts], work: Callable[[], Awaitable[object]]
    ) -> None:
        """`work()` and the step's end are committed together, once: where the answer is lost, the rows say whether."""
        lost = 0
        while True:
            before = self.context.remember()
            try:
                async with self.connections.writing(self._ending) as connection, connection.transaction():
                    self.context.connection = connection
                    await self.end_well(connection, state, did(), await work())
                return
            except ConnectionGone as gone:
                self.context.go_back(before)
                lost += 1
                if lost > RECONNECTS:
                    raise
                self.job.log.warning("step.reconnect", step=state.step, reason=str(gone), attempt=lost)
                await asyncio.sleep(pause_before(lost))
                stands = await self.connections.settled(lambda c: self.book.stand(c, self.instance.id, state))
                if stands.done:
                    self.context.stand_at(stands.state, stands.counts)
                    return
            finally:
                self.context.connection = None

    async def _whole(self, step: Chunk, state: StepState) -> None:
        if step.plan is not None:
            ranges = await self.ranges(step.plan, replace(step, partitions=1), state)
            step = step if ranges else replace(step, read=_nothing)
            self.context.partition = Partition(0, 1, *((ranges[0].low, ranges[0].high) if ranges else ()))
        await self._chunks(step, state, self._end_part if step.aggregate is None else self._end_aggregated)

    async def _chunks(self, step: Chunk, state: StepState, end: EndOfChunks) -> None:
        before = copy(state.counts)
        run = ChunkRun(
            step=step,
            instance=self.instance.id,
            state=state,
            context=self.context,
            book=self.book,
            connections=self.connections,
            listeners=self._listeners,
            ending=self._ending,
            committed=lambda: self.progress.show(state),
        )
        try:
            await self._count(step, state)
            self.progress.begin(state)
            await run.execute()
            await end(step, state, _since(before, state.counts))
        except asyncio.CancelledError:
            await self._end_cancelled(state, _since(before, state.counts))
            raise
        except Exception as error:
            await self.end_badly(state, _since(before, state.counts), error)
            raise

    async def _end_part(self, step: Chunk, state: StepState, did: Counts) -> None:
        await self.connections.settled(lambda c: self.end_well(c, state, did))

    async def _end_aggregated(self, step: Chunk, state: StepState, did: Counts) -> None:
        part, aggregate = self.context.partition, step.aggregate

        async def aggregated() -> object:
            only = PartResult(part.index, part.low, part.high, copy(state.counts), state.state)
            return None if aggregate is None else await call(aggregate, self.context, [only])

        await self.in_one_transaction(state, lambda: did, aggregated)

    async def _count(self, step: Chunk, state: StepState) -> None:
        count = step.count or getattr(step.read, "count", None)
        if count is None or state.expected is not None:
            return
        expected = state.expected = int(await self._asked(count))
        await self.connections.settled(lambda c: self.book.expect(c, self.instance.id, state, expected))

    async def _asked(self, function: Callable[..., Any], *arguments: object) -> Any:
        return await ask(self.connections, self.context, function, *arguments, ending=self._ending)

    def _ending(self) -> str | None:
        reason: str | None = self.job._context.ending
        return reason


def plan_of(step: Chunk) -> Plan | None:
    """The step's own plan, or its reader's."""
    plan: Plan | None = step.plan or getattr(step.read, "plan", None)
    return plan


def _as_stored(bound: object) -> object:
    """A bound as a part reads it: with one part, whose plan is not stored, as with several."""
    return json.loads(dump(to_plain(bound, RESULT_DEPTH_MAX)))


def _nothing(context: Context, after: object) -> Iterator[At]:
    """What there is to read where a plan made no part."""
    yield from ()


def told(counts: Counts) -> dict[str, int]:
    """Counts as a result shows them."""
    return {name: getattr(counts, name) for name in Counts.__slots__}


def _since(before: Counts, after: Counts) -> Counts:
    return Counts(**{name: getattr(after, name) - getattr(before, name) for name in Counts.__slots__})
