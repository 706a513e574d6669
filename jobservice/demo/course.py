"""The course of the demo, on servers and a daemon that are up: submit, send, stop, resume, wait for the last event."""

import asyncio
import json
import time
from collections.abc import Awaitable, Callable
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from jobservice.broker.names import BrokerNames
from jobservice.client.service import JobInfoService
from jobservice.demo.foreign import ForeignService
from jobservice.demo.observer import Observer
from jobservice.demo.plan import AURORA, BOREALIS, CYGNUS, TENANTS, Part, Plan
from jobservice.demo.record import Record
from jobservice.domain.errors import InvalidSubmission
from jobservice.sdk.job_info import JobInfo

SILENCE_SECONDS = 120.0
"""Without any answer or event for so long, something is broken, not slow."""
_EXPIRES_AFTER = 0.3
"""Seconds: long enough to be submitted on a quiet machine, where it is not the margin is doubled."""


class Course:
    """`run()` plays the plan and gives the record of it. `say` tells the viewer of each step."""

    def __init__(
        self,
        *,
        plan: Plan,
        jobs: JobInfoService,
        foreign: ForeignService,
        now: Callable[[], Awaitable[datetime]],
        names: BrokerNames,
        observer: Observer,
        say: Callable[[str], None],
    ) -> None:
        self._plan = plan
        self._jobs = jobs
        self._foreign = foreign
        self._now = now
        self._names = names
        self._observer = observer
        self._record = Record(planned=sum(plan.jobs_by_tenant.values()))
        self._say = say

    async def run(self) -> Record:
        """All of it. Where nothing comes any more it gives up: the checks then tell what is missing."""
        await asyncio.gather(*map(self._jobs.pause_tenant, TENANTS))
        self._say("all tenants are paused, so that jobs wait and have to be chosen from")
        began = time.monotonic()
        expires = await self._submit_all()
        await asyncio.gather(self._send_foreign(), self._stop_waiting())
        await asyncio.gather(self._jobs.resume_tenant(AURORA), self._jobs.resume_tenant(BOREALIS))
        self._say(f"{AURORA} and {BOREALIS} are resumed")
        try:
            await asyncio.gather(self._stop_running(), self._resume_after(expires))
            await self._observer.ended(self._record.parts.keys(), SILENCE_SECONDS)
        except TimeoutError:
            self._say(f"nothing has come for {SILENCE_SECONDS:.0f} s, and not all jobs have ended")
        self._record.seconds = time.monotonic() - began
        return self._record

    async def _submit_all(self) -> float:
        """Submit what is submitted by the client; when the expiring job is past its date, on the monotonic clock."""
        plan = self._plan
        together = await self._jobs.create_many([planned.job for planned in plan.together])
        for planned, job in zip(plan.together, together, strict=True):
            self._note(planned.part, job)
        self._say(f"{len(together)} jobs over {plan.files:,} files of this Python's own library are submitted")
        self._note(plan.late.part, await self._jobs.create_as_queued(plan.late.job))
        self._say(f"one more for {AURORA}, late but of HIGH priority, where all others are LOW")
        margin = _EXPIRES_AFTER
        while True:
            now = await self._now()
            read_at = time.monotonic()
            expiring = replace(plan.expiring.job, expiration_date=now + timedelta(seconds=margin))
            try:
                self._note(plan.expiring.part, await self._jobs.create_as_queued(expiring))
            except InvalidSubmission:  # a busy machine: the date has passed before the job was stored
                margin *= 2
            else:
                self._say(f"one for {CYGNUS} that expires in {margin * 1000:.0f} ms, which stays paused until then")
                return read_at + margin

    async def _send_foreign(self) -> None:
        self._say(f"a foreign service sends one for {BOREALIS} as a bare AMQP message")
        reply = await self._ask(Part.FOREIGN, self._names.submit, BOREALIS, self._plan.foreign)
        for job_id in reply.get("job_ids", []):
            self._record.parts[UUID(job_id)] = Part.FOREIGN

    async def _stop_waiting(self) -> None:
        self._say("a job that waits is stopped through the control queue")
        await self._stop(Part.STOPPED_WAITING, CYGNUS)

    async def _stop_running(self) -> None:
        for job_id in self._record.ids_of(Part.STOPPED_RUNNING):
            await self._observer.started(job_id, SILENCE_SECONDS)
        self._say("a job that runs is stopped through the control queue")
        await self._stop(Part.STOPPED_RUNNING, BOREALIS)

    async def _stop(self, part: Part, tenant: str) -> None:
        job_ids = [str(job_id) for job_id in self._record.ids_of(part)]
        command = {"command": "stop", "job_ids": job_ids, "reason": "the demo wanted to see it stop"}
        await self._ask(part, self._names.command, tenant, json.dumps(command).encode())

    async def _ask(self, part: Part, exchange: str, tenant: str, body: bytes) -> dict[str, Any]:
        """The reply to a bare message, kept; an empty one where none came."""
        try:
            async with asyncio.timeout(SILENCE_SECONDS):
                reply = await self._foreign.ask(exchange, tenant, body)
        except TimeoutError:
            reply = {}
        self._record.replies[part] = reply
        return reply

    async def _resume_after(self, moment: float) -> None:
        await asyncio.sleep(max(0.0, moment - time.monotonic()) + 0.01)
        self._say(f"{CYGNUS} is resumed")
        await self._jobs.resume_tenant(CYGNUS)

    def _note(self, part: Part, job: JobInfo) -> None:
        assert job.job_id is not None
        self._record.parts[job.job_id] = part
