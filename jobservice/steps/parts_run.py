"""A chunk step in parts: planned once, run as jobs of their own, and aggregated once all of them have succeeded.

The job itself holds no slot meanwhile: PartsWait parks it, and the transaction that ends the last part queues it again.
"""

from collections.abc import Callable, Sequence
from copy import copy

from jobservice.domain.errors import JobAborted, JobServiceError
from jobservice.sdk.definition import JobDefinition
from jobservice.sdk.json_values import RESULT_DEPTH_MAX, dump, to_plain
from jobservice.sdk.steps import Chunk, Counts, PartResult, Range
from jobservice.steps.book import PartRow, StepState
from jobservice.steps.calling import call
from jobservice.steps.step_run import StepRun, plan_of

EPOCH = "$parts"
"""In the state of such a step, written when its job is resumed: in which start of the job its parts were run last."""


class PartsFailed(JobServiceError):
    """Parts of a step have failed as often as they may; the text names them."""


class PartsWait(JobAborted):
    """The run ends, and the job goes on when the parts of a step have ended. Listeners see it as they see a stop."""

    def __init__(self, step: str, plan: str) -> None:
        super().__init__(f"the parts of step {step} run as jobs of their own")
        self.plan = plan


class PartsRun:
    """`execute` returns when all parts have succeeded and are aggregated."""

    def __init__(self, run: StepRun, definition: JobDefinition, parameters: Callable[[], str]) -> None:
        """`parameters`: those of its parts, as JSON."""
        self._run = run
        self._definition = definition
        self._parameters = parameters

    async def execute(self, step: Chunk, state: StepState) -> None:
        """Raises PartsWait while parts are to run, PartsFailed where some of this start have failed."""
        await self._run.with_listeners("step", step.name, self._execute(step, state))

    async def _execute(self, step: Chunk, state: StepState) -> None:
        run = self._run
        parts = await run.connections.settled(lambda c: run.book.parts(c, run.instance.id, step.name))
        unfinished = [part for part in parts if part.status != "SUCCEEDED"]
        ranges = () if parts else await self._planned(step, state)
        if ranges or (unfinished and state.state.get(EPOCH) != run.instance.epoch):
            await run.connections.settled(lambda c: run.book.end(c, run.instance.id, state, "PARKED", did=Counts()))
            raise PartsWait(step.name, self._plan(step, ranges))
        try:
            if unfinished:
                raise PartsFailed(_failures(step, parts, unfinished))
            await self._aggregate(step, state, parts)
        except Exception as error:
            await run.end_badly(state, Counts(), error)
            raise

    async def _planned(self, step: Chunk, state: StepState) -> Sequence[Range]:
        plan = plan_of(step)
        if plan is None:
            return [Range() for _ in range(step.partitions)]
        return await self._run.ranges(plan, step, state)

    def _plan(self, step: Chunk, ranges: Sequence[Range]) -> str:
        plan = {
            "instance_id": str(self._run.instance.id),
            "step": step.name,
            "parts": [{"low": each.low, "high": each.high} for each in ranges],
            "max_attempts": self._definition.max_attempts,
            "epoch": self._run.instance.epoch,
            "chunk_steps": self._run.progress.chunks,
            "chunk_steps_begun": self._run.progress.so_far,
        }
        # The parameters as they are: read and written again, their numbers would lose digits.
        return f'{dump(to_plain(plan, RESULT_DEPTH_MAX))[:-1]},"parameters":{self._parameters()}}}'

    async def _aggregate(self, step: Chunk, state: StepState, parts: Sequence[PartRow]) -> None:
        run = self._run
        for name in Counts.__slots__:
            setattr(state.counts, name, sum(getattr(part.counts, name) for part in parts))
        results = [PartResult(part.part, part.low, part.high, part.counts, part.state) for part in parts]

        async def aggregate() -> object:
            return None if step.aggregate is None else await call(step.aggregate, run.context, results)

        await run.in_one_transaction(state, lambda: copy(state.counts), aggregate)
        state.expected = state.counts.read
        run.progress.show(state)


def _failures(step: Chunk, parts: Sequence[PartRow], unfinished: Sequence[PartRow]) -> str:
    told = "; ".join(f"part {part.part}: {part.error or 'it was stopped'}" for part in unfinished[:3])
    return f"step {step.name}: {len(unfinished)} of its {len(parts)} parts did not succeed; {told}"
