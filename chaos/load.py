"""Owns the services that submit, stop and restart, by SQL and by messages."""

import asyncio
import json
import random
import time
from collections import Counter
from dataclasses import dataclass, field
from uuid import UUID

from chaos.plan import TICK, Plan, Submission
from chaos.recorder import Recorder
from chaos.servers import Servers

SUBMIT = "SELECT job_id FROM jobservice.submit($1::text::jsonb)"
STOP = "SELECT status FROM jobservice.stop_jobs($1::uuid[])"


@dataclass
class Told:
    """What the services know they have said, and what they were answered."""

    keys: dict[str, Submission] = field(default_factory=dict)
    """By idempotency key, what was accepted."""
    stopped: dict[UUID, str] = field(default_factory=dict)
    """Jobs whose stop was accepted, and by what."""
    restarts: Counter[UUID] = field(default_factory=Counter)
    """How often each job's restart was asked for; answers may have been lost."""
    repeated: int = 0


class Load:
    """`run` submits all; `stop_the_rest` waits for the stops that are still to come."""

    def __init__(self, *, plan: Plan, servers: Servers, recorder: Recorder) -> None:
        self.told = Told()
        self.jobs: dict[str, UUID] = {}
        self._plan = plan
        self._servers = servers
        self._recorder = recorder
        self._later: set[asyncio.Task[None]] = set()
        self._stops: set[UUID] = set()

    async def run(self) -> None:
        """Each group at its time; late groups are not left out."""
        began = time.monotonic()
        async with asyncio.TaskGroup() as group:
            for number, submissions in enumerate(self._plan.groups):
                await asyncio.sleep(max(0.0, began + number * TICK - time.monotonic()))
                group.create_task(self._submit(submissions))

    async def stop_the_rest(self) -> None:
        """Returns when all stops have been accepted."""
        await asyncio.gather(*self._later)

    async def restart_some(self, rng: random.Random, pause: float) -> None:
        """For ever: have jobs that have ended run once more. Those that only a stop ends are left alone."""
        while True:
            await asyncio.sleep(pause)
            ended = [
                job
                for job, life in self._recorder.lives.items()
                if life[-1].status in ("FAILED", "ABORTED") and UUID(job) not in self._stops
            ]
            if not ended:
                continue
            job_id = UUID(rng.choice(ended))
            self.told.restarts[job_id] += 1
            await self._servers.send("command", "_operator", {"command": "restart", "job_id": str(job_id)})

    async def close(self) -> None:
        """Forget the stops that are still to come."""
        for task in self._later:
            task.cancel()
        await asyncio.gather(*self._later, return_exceptions=True)

    # Submitting.

    async def _submit(self, submissions: list[Submission]) -> None:
        by_message = [each for each in submissions if each.by_message]
        by_sql = [each for each in submissions if not each.by_message]
        async with asyncio.TaskGroup() as group:
            for each in by_message:
                group.create_task(self._submit_by_message(each))
            if by_sql:
                group.create_task(self._submit_by_sql(by_sql))

    async def _submit_by_sql(self, submissions: list[Submission]) -> None:
        jobs = json.dumps([each.job | {"idempotency_key": each.key} for each in submissions])
        rows = await self._servers.ask(SUBMIT, jobs)
        for each, row in zip(submissions, rows, strict=True):
            self.told.keys[each.key] = each
            self.jobs[each.key] = row["job_id"]
            if each.stop_after is not None:
                self._soon(each, row["job_id"])
        if any(each.twice for each in submissions):
            self.told.repeated += 1
            again = await self._servers.ask(SUBMIT, jobs)
            assert [row["job_id"] for row in again] == [row["job_id"] for row in rows], "one key, two jobs"

    async def _submit_by_message(self, submission: Submission) -> None:
        for _ in range(1 + submission.twice):
            await self._servers.send("submit", submission.job["tenant"], submission.job, message_id=submission.key)
            self.told.keys[f"amqp:{submission.key}"] = submission
        self.told.repeated += submission.twice

    # Stopping.

    def _soon(self, submission: Submission, job_id: UUID) -> None:
        self._stops.add(job_id)
        task = asyncio.create_task(self._stop(submission, job_id))
        self._later.add(task)
        task.add_done_callback(self._later.discard)

    async def _stop(self, submission: Submission, job_id: UUID) -> None:
        await asyncio.sleep(submission.stop_after or 0.0)
        if submission.stop_by_message:
            await self._servers.send("command", "_operator", {"command": "stop", "job_id": str(job_id)})
            self.told.stopped[job_id] = "message"
            return
        await self._servers.ask(STOP, [job_id])
        self.told.stopped[job_id] = "SQL"
