"""`jobs.instances`: jobs with steps, from outside: how far their steps are, and restart by instance."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from jobservice.client.answers import all_accepted
from jobservice.client.database import ClientDatabase
from jobservice.domain.errors import UnknownInstance
from jobservice.lifecycle.commands import CommandResult, Commands
from jobservice.store.step_reader import StepReader


@dataclass(frozen=True, slots=True, kw_only=True)
class StepInfo:
    """A step of an instance, or a part of one, over all its runs. Counts are those that are committed."""

    step: str
    part: int | None
    """None: the step itself."""
    status: str
    """PENDING, STARTED, SUCCEEDED, FAILED or SKIPPED."""
    job_id: UUID | None
    run: int | None
    starts: int
    low: Any
    high: Any
    position: Any
    expected: int | None
    read: int
    filtered: int
    written: int
    skipped: int
    commits: int
    rollbacks: int
    exit_description: str | None
    error_type: str | None
    error_message: str | None
    start_date: datetime | None
    stop_date: datetime | None


@dataclass(frozen=True, slots=True, kw_only=True)
class StepRunInfo:
    """One run of a step, or of a part of one. Counts are what this run has done; None while it is at work."""

    step: str
    part: int | None
    job_id: UUID
    run: int
    daemon_id: UUID | None
    """None where the job's history is gone."""
    status: str
    """STARTED, SUCCEEDED, SKIPPED, FAILED, ABORTED, HANDED_BACK, PARKED, or LOST: its end was not written."""
    start_date: datetime
    end_date: datetime | None
    read: int | None
    filtered: int | None
    written: int | None
    skipped: int | None
    commits: int | None
    rollbacks: int | None
    error_type: str | None
    error_message: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class InstanceInfo:
    """An instance of a job with steps as it stood when it was read."""

    instance_id: UUID
    tenant: str
    job_class: str
    generation: int
    parameters: Mapping[str, Any]
    status: str
    """STARTED or SUCCEEDED."""
    context: Mapping[str, Any]
    """What its steps share."""
    last_job: UUID | None
    jobs: tuple[UUID, ...]
    """The jobs that have executed it, the first one first."""
    created_date: datetime
    steps: tuple[StepInfo, ...]
    runs: tuple[StepRunInfo, ...]


class Instances:
    """Every method needs the database."""

    def __init__(self, *, database: ClientDatabase, schema: str) -> None:
        self._database = database
        self._reader = StepReader(schema)
        self._commands = Commands(schema=schema)

    async def of(self, job_id: UUID) -> InstanceInfo | None:
        """The instance that a job executes; None for one without steps, or that has not begun."""
        async with self._database.use() as connection:
            return await self._told(connection, await self._reader.instance_of(connection, job_id))

    async def get(self, instance_id: UUID) -> InstanceInfo:
        """One instance. Raises UnknownInstance."""
        async with self._database.use() as connection:
            told = await self._told(connection, await self._reader.instance(connection, instance_id))
        if told is None:
            raise UnknownInstance(instance_id)
        return told

    async def restart(self, instance_id: UUID, *, expiration_date: datetime | None = None) -> list[CommandResult]:
        """FAILED / ABORTED → QUEUED for the job that has executed it last. Raises UnknownInstance, NotLegal.

        An expiration date in the past has to be replaced, as for a restart by the job's id.
        """
        instance = await self.get(instance_id)
        async with self._database.use() as connection:
            ids = [] if instance.last_job is None else [instance.last_job]
            return all_accepted("restart", await self._commands.restart(connection, ids, expiration=expiration_date))

    async def _told(self, connection: Any, row: dict[str, Any] | None) -> InstanceInfo | None:
        if row is None:
            return None
        steps = await self._reader.steps(connection, row["id"])
        runs = await self._reader.runs(connection, row["id"])
        told = {name: value for name, value in row.items() if name not in ("id", "jobs")}
        return InstanceInfo(
            instance_id=row["id"],
            jobs=tuple(row["jobs"]),
            steps=tuple(StepInfo(**_with_part(step)) for step in steps),
            runs=tuple(StepRunInfo(**_with_part(run)) for run in runs),
            **told,
        )


def _with_part(row: dict[str, Any]) -> dict[str, Any]:
    return row | {"part": None if row["part"] < 0 else row["part"]}
