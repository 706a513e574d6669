"""Every verb on a job, called as its rightful caller would: what tests of the lifecycle try on every status."""

import json
import time
from dataclasses import dataclass
from typing import Any
from uuid import UUID

import asyncpg
from factory import SETTLER, held_run, make_job, row_of

from jobservice.domain.facts import EventMode
from jobservice.domain.outcomes import Aborted, Failed, HandedBack, Parked, Retried, Succeeded
from jobservice.domain.states import LIVE, JobStatus
from jobservice.domain.transitions import Verb, targets
from jobservice.lifecycle.claim import Claimer
from jobservice.lifecycle.commands import Commands
from jobservice.lifecycle.rescue import Rescuer
from jobservice.lifecycle.upkeep import Upkeep

PENDING, QUEUED, TO_BE_RUN, RUNNING = JobStatus.PENDING, JobStatus.QUEUED, JobStatus.TO_BE_RUN, JobStatus.RUNNING
SUCCEEDED, FAILED, ABORTED = JobStatus.SUCCEEDED, JobStatus.FAILED, JobStatus.ABORTED

OUTCOMES = {
    SUCCEEDED: Succeeded(result='{"n": 2}', result_class="int"),
    FAILED: Failed("ValueError", "no", "trace"),
    ABORTED: Aborted("enough"),
}
ERROR = {"type": "ValueError", "message": "not yet"}
POISON = 3


REPORTED = (Verb.START, Verb.FINISH, Verb.RETRY, Verb.PARK, Verb.HAND_BACK)
"""What a run reports, through its daemon's status writer."""


@dataclass(frozen=True)
class Way:
    """One verb as it is called, and where it leads when it is legal. `columns` are what the row must have for it."""

    verb: Verb
    to: JobStatus | None
    columns: tuple[tuple[str, Any], ...] = ()
    note: str = ""

    def __str__(self) -> str:
        return f"{self.verb}{self.note and '-'}{self.note}"


MARK = (("stop_requested_at", "mark"), ("stop_reason", "enough"))
WAYS = [
    Way(Verb.ENQUEUE, QUEUED),
    Way(Verb.CLAIM, TO_BE_RUN),
    Way(Verb.START, RUNNING),
    Way(Verb.FINISH, SUCCEEDED, note="well"),
    Way(Verb.FINISH, FAILED, note="badly"),
    Way(Verb.FINISH, ABORTED, note="stopped"),
    Way(Verb.RETRY, PENDING, note="later"),
    Way(Verb.RETRY, QUEUED, note="at once"),
    Way(Verb.RETRY, ABORTED, MARK, note="marked"),
    Way(Verb.PARK, PENDING),
    Way(Verb.PARK, ABORTED, MARK, note="marked"),
    Way(Verb.HAND_BACK, QUEUED),
    Way(Verb.HAND_BACK, ABORTED, MARK, note="marked"),
    Way(Verb.RESCUE, QUEUED),
    Way(Verb.RESCUE, ABORTED, MARK, note="marked"),
    Way(Verb.RESCUE, FAILED, (("lost_runs", POISON - 1),), note="poison"),
    Way(Verb.STOP, None),
    Way(Verb.EXPIRE, FAILED, (("expiration_date", "past"),)),
    Way(Verb.RESTART, QUEUED),
]


class Hands:
    """Does a verb to a job as its rightful caller would. Returns the status that the caller was told, if any."""

    def __init__(self, connection: asyncpg.Connection, daemon: UUID, writer_of: Any) -> None:
        self.connection = connection
        self.daemon = daemon
        self.writer, self.told = writer_of(daemon)
        self.mode: EventMode = "all"

    async def do(self, way: Way, job_id: UUID, run: int) -> str | None:
        match way.verb:
            case Verb.ENQUEUE | Verb.STOP | Verb.RESTART:
                (result,) = await getattr(Commands(), way.verb)(self.connection, [job_id])
                assert result.accepted or result.code == "not_legal"
                return str(result.status)
            case Verb.CLAIM:
                claimer = Claimer(daemon_id=self.daemon, schema="jobservice", submissions_published=False)
                await claimer.claim(self.connection, queue="default", slots=10, skipped_classes=(), charges={})
            case Verb.RESCUE:
                await self.connection.execute("UPDATE jobservice.daemon SET lost_at = now() WHERE id = $1", self.daemon)
                await Rescuer(schema="jobservice", max_lost_runs=POISON, follower=SETTLER).rescue(self.connection)
            case Verb.EXPIRE:
                await Upkeep(schema="jobservice", follower=SETTLER).expire(self.connection)
            case _:
                return await self._report(way, job_id, run)
        return None

    async def _plan(self, job_id: UUID) -> str:
        """The plan of a step in parts, of an instance that is there."""
        await self.connection.execute(
            """INSERT INTO jobservice.job_instance (id, tenant, job_class, key, parameters)
               VALUES ($1, 't', 'c', $2, '{}') ON CONFLICT DO NOTHING""",
            job_id,
            str(job_id),
        )
        return json.dumps({"instance_id": str(job_id), **PARTS})

    async def _report(self, way: Way, job_id: UUID, run: int) -> str | None:
        if way.verb is Verb.START:
            self.writer.start(held_run(job_id, run, started_at=time.monotonic(), events=self.mode))
        elif way.verb is Verb.HAND_BACK:
            self.writer.finish(held_run(job_id, run, events=self.mode), HandedBack("drain"))
        elif way.verb is Verb.PARK:
            self.writer.finish(held_run(job_id, run, events=self.mode), Parked(await self._plan(job_id)))
        elif way.verb is Verb.RETRY:
            delay = 60.0 if way.to is PENDING else 0.0
            failed = Failed(ERROR["type"], ERROR["message"], "trace")
            self.writer.finish(held_run(job_id, run, events=self.mode), Retried(failed, delay))
        else:
            self.writer.finish(held_run(job_id, run, events=self.mode), OUTCOMES[way.to])
        await self.writer.run_once()
        statuses = [told[2] for told in (*self.told.settled_runs, *self.told.stale_runs)]
        return str(statuses[0]) if statuses else None


PARTS = {"step": "copy", "parts": [{"low": 1, "high": 2}], "parameters": {}, "max_attempts": 1, "epoch": "1"}


async def given_job(hands: Hands, status: JobStatus, way: Way) -> tuple[UUID, dict[str, Any]]:
    past = await hands.connection.fetchval("SELECT now() - interval '1 hour'")
    columns: dict[str, Any] = {"run": 4, "attempt": 2, "sequence": 9, "priority": 7}
    columns |= {name: past if value in ("mark", "past") else value for name, value in way.columns}
    if way.columns is MARK and status not in LIVE:
        columns = {name: value for name, value in columns.items() if not name.startswith("stop_")}
    job_id = await make_job(hands.connection, status, daemon=hands.daemon, **columns)
    return job_id, await row_of(hands.connection, job_id)


def expected(status: JobStatus, way: Way) -> JobStatus | None:
    """What the pure table says of this way; None: illegal."""
    legal = targets(status, way.verb)
    if way.to is None:
        return next(iter(legal), None)
    return way.to if way.to in legal else None


CASES = [(status, way) for status in JobStatus for way in WAYS]
LEGAL = [case for case in CASES if expected(*case) is not None]
ILLEGAL = [case for case in CASES if expected(*case) is None]
