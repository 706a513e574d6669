"""Jobs by messages: what a client without a database does. It submits, commands, and learns of ends by events."""

import asyncio
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime
from typing import Any
from uuid import UUID

from jobservice.broker.messages import JobEvent
from jobservice.client.asking import Asking
from jobservice.client.broker import ClientBroker
from jobservice.client.endings import Endings
from jobservice.domain.errors import InvalidSubmission
from jobservice.domain.names import DEFAULT_QUEUE
from jobservice.domain.states import JobStatus
from jobservice.lifecycle.commands import CommandResult
from jobservice.sdk.job_info import JobInfo
from jobservice.sdk.json_values import dump
from jobservice.store.job_reader import JobFilter

_JOBS_KEPT = 100_000


class AmqpJobs:
    """Submits and commands through one broker."""

    def __init__(self, *, broker: ClientBroker, asking: Asking) -> None:
        self._asking = asking
        self._broker = broker
        self._endings: dict[str, Endings] = {}
        self._submitted: OrderedDict[UUID, JobInfo] = OrderedDict()
        self._unpublished: frozenset[str] = frozenset()

    async def close(self) -> None:
        """Stop listening."""
        await self._asking.close()
        for endings in self._endings.values():
            await endings.close()

    async def submit(self, jobs: Sequence[JobInfo]) -> list[JobInfo]:
        """Submit all of them or none. Raises InvalidSubmission, UnavailableError."""
        if not jobs:
            return []
        tenants = {job.tenant for job in jobs}
        if len(tenants) > 1:
            raise InvalidSubmission("jobs that are submitted together by message must be of one tenant", field="tenant")
        text = dump([job.to_submission() for job in jobs])
        # Before the submission: a short job's end would be published before anybody listened.
        (tenant,) = tenants
        await self._listen(tenant)
        reply = await self._asking.submit(tenant, text)
        self._unpublished = frozenset(reply.get("unpublished_queues", ()))
        created = [
            replace(job, job_id=UUID(job_id), sequence=1) for job, job_id in zip(jobs, reply["job_ids"], strict=True)
        ]
        self._remember(created)
        return created

    async def command(self, verb: str, ids: Sequence[UUID], **given: Any) -> list[CommandResult]:
        """Apply one command to each id; results in the order given."""
        if not ids:
            return []
        body = {"command": verb, "job_ids": [str(job_id) for job_id in ids], **_members(given)}
        reply = await self._asking.command(body)
        by_id = {UUID(result["job_id"]): result for result in reply["results"]}
        return [_result(job_id, by_id[job_id]) for job_id in ids]

    async def stop_selected(self, wanted: JobFilter, reason: str | None) -> list[CommandResult]:
        """Stop all that match; those that accepted it."""
        selection = {"tenant": wanted.tenant, "job_class": wanted.job_class, "owner": wanted.owner, "reason": reason}
        body = {"command": "stop", "status": list(wanted.statuses or ()), **_members(selection)}
        results = [_result(UUID(told["job_id"]), told) for told in (await self._asking.command(body))["results"]]
        return [result for result in results if result.accepted]

    async def rerun(self, job_id: UUID) -> JobInfo:
        """Submit an ended job once more; of the new one only the id is known here."""
        original = self._submitted.get(job_id)
        if original is not None:
            await self._listen(original.tenant)
        reply = await self._asking.command({"command": "rerun", "job_ids": [str(job_id)]})
        (result,) = reply["results"]
        refusal = _result(job_id, result).refusal("rerun")
        if refusal is not None:
            raise refusal
        if original is None:
            return JobInfo("unknown", job_id=UUID(result["new_job_id"]), rerun_of=job_id, sequence=1)
        new = replace(original, job_id=UUID(result["new_job_id"]), rerun_of=job_id, sequence=1, status=JobStatus.QUEUED)
        self._remember([new])
        return new

    async def command_tenant(self, verb: str, tenant: str) -> None:
        """Pause or resume a tenant."""
        await self._asking.command({"command": verb, "tenant": tenant})

    async def note_subscription(self, name: str, wanted: dict[str, Any]) -> None:
        """Have a durable subscription noted, when a daemon comes to it: nobody waits for a list of operators."""
        body = {"command": "register_subscription", "name": name, "filter": wanted}
        await self._asking.send(body)

    async def wait(self, job_id: UUID, timeout: float | None) -> JobInfo:
        """The job once its last event has come; of it only what an event tells is known. Raises TimeoutError."""
        submitted = self._submitted.get(job_id)
        if submitted is None:
            raise InvalidSubmission(
                f"job {job_id} was not submitted by this client, so its end cannot be awaited by messages alone: "
                "waiting for it needs a database_url"
            )
        queue = submitted.queue or DEFAULT_QUEUE
        if queue in self._unpublished:
            raise InvalidSubmission(
                f"queue {queue} publishes no events, so the end of job {job_id} cannot be awaited by messages: waiting "
                "for it needs a database_url"
            )
        try:
            async with asyncio.timeout(timeout):
                return _ended(submitted, await self._endings[submitted.tenant].of(job_id))
        except TimeoutError:
            raise TimeoutError(f"job {job_id} has not ended after {timeout:g} s") from None

    async def _listen(self, tenant: str) -> None:
        if tenant not in self._endings:
            self._endings[tenant] = Endings(broker=self._broker, tenant=tenant)
        await self._endings[tenant].listen()

    def _remember(self, jobs: Sequence[JobInfo]) -> None:
        for job in jobs:
            assert job.job_id is not None
            self._submitted[job.job_id] = job
        while len(self._submitted) > _JOBS_KEPT:
            self._submitted.popitem(last=False)


def _members(given: dict[str, Any]) -> dict[str, Any]:
    names = {"expiration": "expiration_date"}
    return {
        names.get(name, name): value.isoformat() if isinstance(value, datetime) else value
        for name, value in given.items()
        if value is not None
    }


def _result(job_id: UUID, told: dict[str, Any]) -> CommandResult:
    status = JobStatus(told["status"]) if told.get("status") else None
    return CommandResult(
        job_id=job_id, status=status, accepted=told["accepted"], code=told.get("code"), reason=told.get("reason")
    )


def _ended(submitted: JobInfo, event: JobEvent) -> JobInfo:
    error = event.error or {}
    return replace(
        submitted,
        status=event.status,
        run=event.run,
        attempt=event.attempt,
        sequence=event.sequence,
        daemon_id=event.daemon_id,
        percent_completed=event.percent_completed,
        result=event.result,
        error_type=error.get("type"),
        error_message=error.get("message"),
        stop_date=event.time,
    )
