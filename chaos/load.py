"""Owns the services that submit, stop and restart, by SQL and by messages, until they have an answer."""

import asyncio
import json
import random
import time
from collections import Counter
from dataclasses import dataclass, field
from uuid import UUID

import aiormq
import asyncpg
from pamqp.commands import Basic

from chaos.patience import AWAY, patiently
from chaos.plan import TICK, Plan, Submission
from chaos.recorder import Recorder

SUBMIT = "SELECT job_id FROM jobservice.submit($1::text::jsonb)"
STOP = "SELECT status FROM jobservice.stop_jobs($1::uuid[])"
_AGAIN = 0.1
_PATIENCE = 10.0


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
    lost_answers: int = 0


class Load:
    """`run` submits all; `stop_the_rest` waits for the stops that are still to come."""

    def __init__(self, *, plan: Plan, database_url: str, amqp_url: str, prefix: str, recorder: Recorder) -> None:
        self.told = Told()
        self.jobs: dict[str, UUID] = {}
        self._plan = plan
        self._database_url = database_url
        self._amqp_url = amqp_url
        self._prefix = prefix
        self._recorder = recorder
        self._sessions: asyncpg.Pool | None = None
        self._channel: aiormq.abc.AbstractChannel | None = None
        self._connecting = asyncio.Lock()
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
            await self._send("command", "_operator", {"command": "restart", "job_id": str(job_id)})

    async def close(self) -> None:
        """Leave both servers."""
        for task in self._later:
            task.cancel()
        await asyncio.gather(*self._later, return_exceptions=True)
        if self._sessions is not None:
            self._sessions.terminate()
        if self._channel is not None:
            await asyncio.wait([asyncio.ensure_future(self._channel.connection.close())], timeout=_PATIENCE)

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
        rows = await self._ask(SUBMIT, jobs)
        for each, row in zip(submissions, rows, strict=True):
            self.told.keys[each.key] = each
            self.jobs[each.key] = row["job_id"]
            if each.stop_after is not None:
                self._soon(each, row["job_id"])
        if any(each.twice for each in submissions):
            self.told.repeated += 1
            again = await self._ask(SUBMIT, jobs)
            assert [row["job_id"] for row in again] == [row["job_id"] for row in rows], "one key, two jobs"

    async def _submit_by_message(self, submission: Submission) -> None:
        for _ in range(1 + submission.twice):
            await self._send("submit", submission.job["tenant"], submission.job, message_id=submission.key)
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
            await self._send("command", "_operator", {"command": "stop", "job_id": str(job_id)})
            self.told.stopped[job_id] = "message"
            return
        await self._ask(STOP, [job_id])
        self.told.stopped[job_id] = "SQL"

    # Both ways.

    async def _ask(self, query: str, *arguments: object) -> list[asyncpg.Record]:
        while True:
            try:
                if self._sessions is None:
                    self._sessions = asyncpg.create_pool(
                        self._database_url,
                        min_size=0,
                        max_size=8,
                        server_settings={"application_name": "chaos client"},
                    )
                sessions = await self._sessions
                return list(await sessions.fetch(query, *arguments, timeout=20))
            except AWAY:
                self.told.lost_answers += 1
                await asyncio.sleep(_AGAIN)

    async def _send(self, exchange: str, key: str, body: object, *, message_id: str | None = None) -> None:
        """Returns when the broker has confirmed that the message is in a queue."""
        properties = Basic.Properties(delivery_mode=2, content_type="application/json", message_id=message_id)
        name = f"{self._prefix}.{exchange}"
        while True:
            channel = None
            try:
                channel = await self._open()
                sending = channel.basic_publish(
                    json.dumps(body).encode(), exchange=name, routing_key=key, properties=properties
                )
                if isinstance(await patiently(sending, _PATIENCE), Basic.Ack):
                    return
            except AWAY:
                if self._channel is channel:  # others may have a new one already
                    self._channel = None
            self.told.lost_answers += 1
            await asyncio.sleep(_AGAIN)

    async def _open(self) -> aiormq.abc.AbstractChannel:
        async with self._connecting:
            if self._channel is None or self._channel.is_closed or self._channel.connection.is_closed:
                connection = await patiently(aiormq.connect(self._amqp_url), _PATIENCE)
                self._channel = await patiently(connection.channel(publisher_confirms=True), _PATIENCE)
            return self._channel
