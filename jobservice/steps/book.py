"""The only reader and writer of where jobs with steps stand: instances, steps, checkpoints, parts.

One Book belongs to one run of one job: every write is refused once that run is not the job's current one.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from uuid import UUID

import asyncpg

from jobservice.domain.errors import JobParameterInvalid, JobServiceError
from jobservice.sdk.progress import ProgressSnapshot
from jobservice.sdk.step_parameters import PART, Identity
from jobservice.sdk.steps import Counts
from jobservice.steps.checkpoints import Checkpoints, RunLost, as_json
from jobservice.steps.context import WISHES
from jobservice.store.sql import load

_FILE = Path(__file__).with_name("steps.sql")

WHOLE = -1
"""The `part` of the step itself."""
ALWAYS = 2_147_483_647


class InstanceRefused(JobServiceError):
    """The instance cannot be executed now; see AlreadyRunning, AlreadyComplete, RestartPrevented."""


class AlreadyRunning(InstanceRefused):
    """Another job executes the same instance."""


class AlreadyComplete(InstanceRefused):
    """The instance has SUCCEEDED; `new_run` starts it anew."""


class RestartPrevented(InstanceRefused):
    """The job class allows no restart."""


class OtherVersion(JobServiceError):
    """A step was begun by a daemon whose job class has it; this one's has not."""


class StartLimitReached(JobServiceError):
    """The step was started as often as it may be."""


@dataclass(frozen=True, slots=True)
class Instance:
    """An instance that this run has taken."""

    id: UUID
    generation: int
    epoch: str
    shared: dict[str, Any]


@dataclass(slots=True)
class StepState:
    """Where a step, or a part of one, stands."""

    step: str
    part: int
    done: bool = False
    position: Any = None
    state: dict[str, Any] = field(default_factory=dict)
    counts: Counts = field(default_factory=Counts)
    expected: int | None = None
    low: Any = None
    high: Any = None


@dataclass(frozen=True, slots=True)
class PartRow:
    """One part of a step."""

    part: int
    status: str
    low: Any
    high: Any
    state: dict[str, Any]
    counts: Counts
    error: str | None


class Book:
    """What one run reads and writes. The caller brings the connection, and the transaction where one is needed."""

    def __init__(self, *, schema: str, job_id: UUID, run: int, daemon_id: UUID) -> None:
        self._schema = schema
        self._sql = load(_FILE, schema)
        self._mine = {"job": job_id, "run": run}
        self._fence = {**self._mine, "daemon": daemon_id}

    async def open_instance(
        self, connection: asyncpg.Connection, identity: Identity, *, anew: bool, restartable: bool
    ) -> Instance:
        """Takes the instance for this job. Raises AlreadyRunning, AlreadyComplete, RestartPrevented."""
        row = await self._sql.open_instance(
            connection,
            **self._fence,
            key=identity.key,
            parameters=identity.parameters,
            anew=anew,
            restartable=restartable,
        )
        if row["answer"] == "RUN_LOST":
            raise RunLost("the run was taken from this daemon before it took its instance")
        told = f"instance {row['instance_id']} {identity.parameters[:500]}"
        match row["answer"]:
            case "ALREADY_RUNNING":
                raise AlreadyRunning(
                    f"{told} is being executed by job {row['other_job']}; wait for its end, or stop it"
                )
            case "ALREADY_COMPLETE":
                raise AlreadyComplete(
                    f"{told} was completed by job {row['other_job']}; the parameter new_run = true starts it anew"
                )
            case "RESTART_PREVENTED":
                raise RestartPrevented(
                    f"{told} was executed by job {row['other_job']}, and its class allows no restart; other"
                    " parameters are another instance"
                )
        return Instance(row["instance_id"], row["generation"], row["epoch"], json.loads(row["context"]))

    async def part_of(
        self, connection: asyncpg.Connection, instance: UUID, step: str, part: int
    ) -> tuple[dict[str, Any], int]:
        """For the run of a part: what the steps of its instance share, and how many parts there are.

        Raises JobParameterInvalid where this job was not made for that part: parameters are anybody's.
        """
        row = await self._sql.instance_of_part(
            connection, instance=instance, step=step, part=part, job=self._mine["job"]
        )
        if row is None:
            raise JobParameterInvalid(PART, "only the service itself may name the part of a step")
        return json.loads(row["context"]), row["parts"]

    async def begin(
        self,
        connection: asyncpg.Connection,
        instance: UUID,
        step: str,
        *,
        epoch: str,
        part: int = WHOLE,
        start_limit: int | None = None,
        again: bool = False,
    ) -> StepState:
        """Begins a step or goes on with it; `again`: also where it was complete before a restart."""
        row = await self._sql.begin_step(
            connection,
            instance=instance,
            step=step,
            part=part,
            **self._fence,
            epoch=epoch,
            most_starts=start_limit or ALWAYS,
            again=again,
        )
        if row["answer"] == "RUN_LOST":
            raise RunLost(f"the run was taken from this daemon before it began step {step}")
        if row["answer"] == "TOO_OFTEN":
            raise StartLimitReached(
                f"step {step} of instance {instance} was started {row['starts']} times, as often as its start_limit"
                " says; raise that, or submit other parameters: they are another instance"
            )
        return StepState(
            step=step,
            part=part,
            done=row["answer"] == "DONE",
            position=_value(row["position"]),
            state=json.loads(row["context"]),
            counts=_counts(row),
            expected=row["expected"],
            low=_value(row["low"]),
            high=_value(row["high"]),
        )

    async def stand(self, connection: asyncpg.Connection, instance: UUID, state: StepState) -> StepState:
        """The step as it is committed, after the end of a commit that is under way."""
        row = await self._sql.stand(connection, instance=instance, step=state.step, part=state.part)
        return StepState(
            step=state.step,
            part=state.part,
            done=row["status"] == "SUCCEEDED",
            position=_value(row["position"]),
            state=json.loads(row["context"]),
            counts=_counts(row),
            expected=state.expected,
            low=state.low,
            high=state.high,
        )

    def checkpoints(self, instance: UUID, state: StepState) -> Checkpoints:
        """For the chunks of a step or a part that this run has begun."""
        return Checkpoints(self._schema, {"instance": instance, "step": state.step, "part": state.part, **self._fence})

    async def expect(self, connection: asyncpg.Connection, instance: UUID, state: StepState, expected: int) -> None:
        """How many items there are to read, over all runs."""
        await self._sql.expect(connection, instance=instance, step=state.step, part=state.part, expected=expected)

    async def end(
        self,
        connection: asyncpg.Connection,
        instance: UUID,
        state: StepState,
        status: str,
        *,
        did: Counts,
        context: Mapping[str, Any] | None = None,
        shared: Mapping[str, Any] | None = None,
        exit_description: str | None = None,
        error: BaseException | None = None,
    ) -> None:
        """The end of the step in this run. Raises RunLost for one that is to be SUCCEEDED or SKIPPED."""
        ended = await self._sql.end_step(
            connection,
            instance=instance,
            step=state.step,
            part=state.part,
            **self._fence,
            status=status,
            context=None if context is None else as_json("context.state", dict(context)),
            shared=None if shared is None else as_json("context.shared", dict(shared)),
            exit_description=exit_description,
            error_type=None if error is None else type(error).__name__,
            error_message=None if error is None else str(error)[:10_000],
            all_rollbacks=state.counts.rollbacks,
            **_columns(did),
        )
        if not ended and status in ("SUCCEEDED", "SKIPPED"):
            raise RunLost(f"the run was taken from this daemon before the end of step {state.step} was committed")

    async def finish(self, connection: asyncpg.Connection, instance: UUID, progress: ProgressSnapshot) -> None:
        """The instance has SUCCEEDED. Raises RunLost."""
        done = progress.done if progress.total > 0 else None
        finished = await self._sql.finish_instance(
            connection, instance=instance, done=done, message=progress.message, **self._fence
        )
        if finished is None:
            raise RunLost("the run was taken from this daemon before its instance was completed")

    async def parts(self, connection: asyncpg.Connection, instance: UUID, step: str) -> list[PartRow]:
        """The parts of a step, in order; none where it was not planned yet."""
        return [
            PartRow(
                part=row["part"],
                status=row["status"],
                low=_value(row["low"]),
                high=_value(row["high"]),
                state={name: value for name, value in json.loads(row["context"]).items() if name != WISHES},
                counts=_counts(row),
                error=None if row["error_type"] is None else f"{row['error_type']}: {row['error_message']}",
            )
            async for row in self._sql.parts(connection, instance=instance, step=step)
        ]

    async def stood_in(
        self, connection: asyncpg.Connection, instance: UUID, step: str, stand_in: str, *, epoch: str
    ) -> str | None:
        """Why the step has failed in this start of the job, where its stand-in was begun; else None."""
        reason: str | None = await self._sql.stood_in(
            connection, instance=instance, step=step, stand_in=stand_in, epoch=epoch
        )
        return reason

    async def strange(
        self, connection: asyncpg.Connection, instance: UUID, known: list[str], *, epoch: str
    ) -> str | None:
        """A step that was begun in this start of the job, has not ended, and is none of these."""
        step: str | None = await self._sql.strange(connection, instance=instance, known=known, epoch=epoch)
        return step

    async def totals(self, connection: asyncpg.Connection, instance: UUID, *, beside: str) -> tuple[int, int]:
        """Items read and committed over all steps but `beside`, and how many there are in them."""
        row = await self._sql.totals(connection, instance=instance, beside=beside)
        return row["done"], row["expected"]


def _value(text: str | None) -> Any:
    return None if text is None else json.loads(text)


def _columns(counts: Counts) -> dict[str, int]:
    return {name: getattr(counts, name) for name in Counts.__slots__}


def _counts(row: asyncpg.Record) -> Counts:
    return Counts(**{name: row[name] for name in Counts.__slots__})
