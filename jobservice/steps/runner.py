"""Runs the steps of a job, one after the other, from where the instance stands.

`StepRunner.run` returns the job's result, or a Parked outcome while the parts of a step run as jobs of their own.
"""

from collections.abc import Callable, Mapping, MutableMapping
from typing import Any
from uuid import UUID

from jobservice.domain.claimed import ClaimedJob
from jobservice.domain.errors import JobAborted, JobParameterInvalid
from jobservice.domain.outcomes import Parked
from jobservice.sdk.abstract_job import AbstractJob
from jobservice.sdk.definition import JobDefinition
from jobservice.sdk.progress import ProgressSnapshot
from jobservice.sdk.step_parameters import PART, step_parameters_of
from jobservice.sdk.steps import Chunk, Partition, Task, UnplannedPartition
from jobservice.sdk.wishes import Wishes
from jobservice.steps.book import Book, Instance, OtherVersion, StepState
from jobservice.steps.calling import Listeners
from jobservice.steps.checkpoints import RunLost
from jobservice.steps.connections import StepConnections
from jobservice.steps.context import Context
from jobservice.steps.parts_run import PartsRun, PartsWait
from jobservice.steps.step_progress import StepProgress
from jobservice.steps.step_run import StepRun, plan_of, told
from jobservice.steps.threads import StepThreads


class StepRunner:
    """All jobs with steps of one daemon."""

    def __init__(self, *, connections: StepConnections, threads: StepThreads, schema: str, daemon_id: UUID) -> None:
        self._connections = connections
        self._threads = threads
        self._schema = schema
        self._daemon_id = daemon_id

    async def run(
        self,
        job: AbstractJob,
        claimed: ClaimedJob,
        definition: JobDefinition,
        arguments: Mapping[str, Any],
        *,
        of_parts: Callable[[], str],
        leaving: Callable[[], bool],
        wishes: Wishes,
    ) -> object:
        """The job's result or a Parked. Raises what a step raises, JobAborted when the run is to end.

        `of_parts`: the parameters of the jobs of parts, as JSON. `leaving`: whether the run is to end without an end
        of its job.
        """
        for name, value in step_parameters_of(type(job)).values(arguments).items():
            setattr(job, name, value)
        book = Book(schema=self._schema, job_id=claimed.card.job_id, run=claimed.run, daemon_id=self._daemon_id)
        run = _JobRun(
            job=job,
            definition=definition,
            arguments=arguments,
            book=book,
            connections=self._connections,
            threads=self._threads,
            of_parts=of_parts,
            leaving=leaving,
            wishes=wishes,
        )
        try:
            if PART in arguments:
                job._context.progress.pipeline_of_parts = claimed.card.pipeline_id
                return await run.one_part(arguments[PART], epoch=str(claimed.card.job_id))
            return await run.all_steps()
        except PartsWait as waits:
            return Parked(waits.plan)


class _JobRun:
    """One run of one job, or of one part of a step."""

    def __init__(
        self,
        *,
        job: AbstractJob,
        definition: JobDefinition,
        arguments: Mapping[str, Any],
        book: Book,
        connections: StepConnections,
        threads: StepThreads,
        of_parts: Callable[[], str],
        leaving: Callable[[], bool],
        wishes: Wishes,
    ) -> None:
        self._job = job
        self._definition = definition
        self._arguments = arguments
        self._book = book
        self._connections = connections
        self._threads = threads
        self._of_parts = of_parts
        self._leaving = leaving
        self._wishes = wishes
        self._listeners = Listeners(type(job).listeners, job.log)

    async def all_steps(self) -> dict[str, Any]:
        """From the first step that is not complete to the last."""
        identity = step_parameters_of(type(self._job)).identity(self._arguments)
        anew, restartable = bool(self._arguments.get("new_run", False)), not type(self._job).prevent_restart
        instance = await self._connections.settled(
            lambda c: self._book.open_instance(c, identity, anew=anew, restartable=restartable)
        )
        whole = self._context(str(instance.id), instance.shared)
        await self._listeners.tell("before_job", whole)
        error: BaseException | None = None
        try:
            await self._require_own_steps(instance)
            steps = await self._in_order(instance)
            progress = self._all_done()
            await self._connections.settled(lambda c: self._book.finish(c, instance.id, progress))
        except BaseException as raised:
            error = raised
            raise
        finally:
            await self._listeners.tell("after_job", whole, error)
        return {"instance_id": str(instance.id), "generation": instance.generation, "steps": steps}

    def _all_done(self) -> ProgressSnapshot:
        """What was left out, or counted and not there, is none of the whole."""
        progress = self._job._context.progress
        if progress.total > 0:
            progress.update(total=progress.done)
        return progress.snapshot()

    async def _require_own_steps(self, instance: Instance) -> None:
        """While daemons of two versions run, an older one must not complete what a newer one has begun."""
        names = [step.name for step in self._definition.steps]
        step = await self._connections.settled(
            lambda c: self._book.strange(c, instance.id, names, epoch=instance.epoch)
        )
        if step is not None:
            raise OtherVersion(f"step {step} was begun by {self._other_version()}; restart the job where it has")

    def _other_version(self) -> str:
        return f"another version of {self._definition.name}: this daemon's has no such step"

    async def one_part(self, named: Mapping[str, Any], *, epoch: str) -> dict[str, Any]:
        """One partition of a step, in a job of its own."""
        step, instance_id, index = self._part_named(named)
        shared, count = await self._connections.settled(lambda c: self._book.part_of(c, instance_id, step.name, index))
        state = await self._connections.settled(
            lambda c: self._book.begin(c, instance_id, step.name, part=index, epoch=epoch)
        )
        instance = Instance(instance_id, 0, epoch, shared)
        context = self._context(f"{instance_id}:{step.name}:{index}", shared)
        context.begin_at(state.state, state.counts)
        has_bounds = state.low is not None or state.high is not None or plan_of(step) is not None
        context.partition = (
            Partition(index, count, state.low, state.high) if has_bounds else UnplannedPartition(index, count)
        )
        if not state.done:
            await self._step_run(instance, step, context).part(step, state)
        return {"instance_id": named["instance_id"], "step": step.name, "part": index, **told(state.counts)}

    def _part_named(self, named: Mapping[str, Any]) -> tuple[Chunk, UUID, int]:
        try:
            instance_id, index = UUID(named["instance_id"]), int(named["index"])
            name = str(named["step"])
        except (KeyError, ValueError, TypeError):
            raise JobParameterInvalid(PART, "only the service itself may name the part of a step") from None
        step = next((each for each in self._definition.steps if each.name == name), None)
        if step is None:
            raise OtherVersion(f"step {name} was parted by {self._other_version()}")
        if not isinstance(step, Chunk):
            raise JobParameterInvalid(PART, f"step {step.name} has no parts")
        return step, instance_id, index

    async def _in_order(self, instance: Instance) -> dict[str, Any]:
        """The steps but those that stand in for a failed one; what is told of each."""
        by_name = {step.name: step for step in self._definition.steps}
        stand_ins = {step.on_failure for step in by_name.values()}
        steps: dict[str, Any] = {}
        for name, step in by_name.items():
            if name in stand_ins:
                continue
            failed = await self._stood_in(instance, step)
            try:
                if failed is None:
                    steps[name] = await self._step(instance, step)
            except (JobAborted, RunLost):
                raise
            except Exception as error:
                if step.on_failure is None:
                    raise
                failed = f"{type(error).__name__}: {error}"
                self._job.log.warning("step.stand_in", step=name, stand_in=step.on_failure, reason=failed)
            if failed is not None and step.on_failure is not None:
                steps[name] = {"failed": failed}
                steps[step.on_failure] = await self._step(instance, by_name[step.on_failure])
                break
        return steps

    async def _stood_in(self, instance: Instance, step: Task | Chunk) -> str | None:
        """Why it has failed, where another run of this start of the job has gone over to its stand-in already."""
        stand_in = step.on_failure
        if stand_in is None:
            return None
        return await self._connections.settled(
            lambda c: self._book.stood_in(c, instance.id, step.name, stand_in, epoch=instance.epoch)
        )

    async def _step(self, instance: Instance, step: Task | Chunk) -> dict[str, Any]:
        if (reason := self._job._context.ending) is not None:
            raise JobAborted(reason)
        context = self._context(f"{instance.id}:{step.name}", instance.shared)
        try:
            return await self._begun(instance, step, context)
        except BaseException:
            context.forget_wishes()
            raise

    async def _begun(self, instance: Instance, step: Task | Chunk, context: Context) -> dict[str, Any]:
        run = self._step_run(instance, step, context)
        run.progress = await self._connections.settled(lambda c: self._progress(c, instance, step))
        state = await self._connections.settled(
            lambda c: self._book.begin(
                c,
                instance.id,
                step.name,
                epoch=instance.epoch,
                start_limit=step.start_limit,
                again=step.allow_start_if_complete,
            )
        )
        context.begin_at(state.state, state.counts)
        if state.done:
            return told(state.counts)
        if await run.is_left_out(step, state):
            return {"skipped": True}
        if isinstance(step, Task):
            await run.task(step, state)
            return {"exit_description": context.exit_description}
        if await self._is_whole(instance, step, state):
            await run.chunks(step, state)
        else:
            await PartsRun(run, self._definition, self._of_parts).execute(step, state)
        return told(state.counts)

    async def _is_whole(self, instance: Instance, step: Chunk, state: StepState) -> bool:
        """Whether it has no parts. As it was begun: another number of partitions counts from the next instance on."""
        if state.counts.commits > 0:
            return True
        if step.partitions > 1:
            return False
        return not await self._connections.settled(lambda c: self._book.parts(c, instance.id, step.name))

    async def _progress(self, connection: Any, instance: Instance, step: Task | Chunk) -> StepProgress:
        """What earlier steps have read, and what of all chunk steps these are together with this one."""
        chunks = [each for each in self._definition.steps if isinstance(each, Chunk)]
        so_far = [each for each in chunks if self._definition.steps.index(each) <= self._definition.steps.index(step)]
        done, expected = await self._book.totals(connection, instance.id, beside=step.name)
        return StepProgress(self._job, done, expected, len(so_far), len(chunks))

    def _context(self, key: str, shared: MutableMapping[str, Any]) -> Context:
        return Context(job=self._job, key=key, shared=shared, threads=self._threads, wishes=self._wishes)

    def _step_run(self, instance: Instance, step: Task | Chunk, context: Context) -> StepRun:
        return StepRun(
            job=self._job,
            instance=instance,
            context=context,
            book=self._book,
            connections=self._connections,
            listeners=self._listeners.and_those(step.listeners),
            leaving=self._leaving,
        )
