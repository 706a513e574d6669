"""The door for commands that come as messages: each is applied in a transaction, committed, answered.

Handler of the consumer of the control queue. It decides messages and sends nothing itself. The routing key says who
asks: a tenant, who reaches its own jobs only, or the operator.
"""

from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from typing import Any, Final
from uuid import UUID

import asyncpg
import structlog

from jobservice.broker.bodies import answer, refuse
from jobservice.broker.incoming import Incoming
from jobservice.broker.names import OPERATOR_KEY
from jobservice.control.acting import Acting
from jobservice.control.pipeline_acting import PipelineActing
from jobservice.control.pipelines import OnPipelines, OnStages
from jobservice.control.schedule_acting import ScheduleActing, ScheduleResult
from jobservice.control.schedules import OnSchedule
from jobservice.control.wire import OPERATORS_ONLY, AnyCommand, Drain, Stop, read_command
from jobservice.domain.errors import DatabaseUnavailable, InvalidSubmission, UnavailableError
from jobservice.domain.names import is_name
from jobservice.lifecycle.commands import CommandResult
from jobservice.store.session import Session
from jobservice.store.transactions import CommitInDoubt, Transactions
from jobservice.workflow.pipelines import WorkflowResult

log = structlog.get_logger(__name__)

STOPPED_AT_ONCE: Final = 500
RESULTS_MAX: Final = 10_000
"""Results in one reply: a broker takes a message of some megabytes, and a selection may be of millions."""

DrainCall = Callable[[UUID | None], Awaitable[None]]
Results = Sequence[CommandResult] | Sequence[WorkflowResult] | Sequence[ScheduleResult]
Work = Callable[[asyncpg.Connection], Awaitable[Results]]


class ControlDoor:
    """`await door(messages)`: acknowledges or rejects each message that could be decided, in order.

    Raises UnavailableError for those that could not: the database or its schema is away, or a client holds a lock.
    `drain` is called with the id of the daemon that is to drain, None for all; the others are told by PostgreSQL.
    """

    def __init__(self, *, session: Session, schema: str, drain: DrainCall) -> None:
        self._transactions = Transactions(session=session)
        self._acting = Acting(schema=schema)
        self._pipeline_acting = PipelineActing(schema=schema)
        self._schedule_acting = ScheduleActing(schema=schema)
        self._drain = drain
        self._doubt: tuple[CommitInDoubt, Incoming, AnyCommand] | None = None

    async def __call__(self, messages: Sequence[Incoming]) -> None:
        """Decide `messages`."""
        await self._settle_doubt()
        held_up: UnavailableError | None = None
        for message in messages:
            if message.decided:
                continue
            try:
                await self._serve(message)
            except DatabaseUnavailable:
                raise
            except UnavailableError as error:
                held_up = error
            except InvalidSubmission as error:
                refuse(message, error)
        if held_up is not None:
            raise held_up

    async def _serve(self, message: Incoming) -> None:
        command = read_command(message.body)
        tenant = _allowed(command, message.routing_key)
        if isinstance(command, Stop) and not command.names_jobs:
            await self._done(message, command, await self._stop_selected(command, tenant))
            return
        try:
            results = await self._transactions.run(self._work(command, tenant, message.message_id))
        except CommitInDoubt as doubt:
            self._doubt = (doubt, message, command)
            raise
        await self._done(message, command, results)

    def _work(self, command: AnyCommand, tenant: str | None, message_id: str | None) -> Work:
        if isinstance(command, OnPipelines | OnStages):
            return partial(self._pipeline_acting.apply, command=command, tenant=tenant)
        if isinstance(command, OnSchedule):
            run_key = f"run:{message_id}" if message_id else None
            return partial(self._schedule_acting.apply, command=command, tenant=tenant, key=run_key)
        key = f"rerun:{message_id}" if message_id else None
        return partial(self._acting.apply, command=command, tenant=tenant, key=key)

    async def _stop_selected(self, command: Stop, tenant: str | None) -> list[CommandResult]:
        """In bounded transactions; after trouble the selection is made anew, and those stopped are no longer in it."""
        select = partial(self._acting.selected, stop=command, tenant=tenant)
        ids = await self._transactions.run(select)
        results: list[CommandResult] = []
        for start in range(0, len(ids), STOPPED_AT_ONCE):
            some = ids[start : start + STOPPED_AT_ONCE]
            stop = partial(self._acting.stop, ids=some, reason=command.reason, tenant=tenant)
            results += await self._transactions.run(stop)
        return results

    async def _settle_doubt(self) -> None:
        if self._doubt is None:
            return
        doubt, message, command = self._doubt
        if await self._transactions.committed(doubt):
            await self._done(message, command, doubt.value)
        self._doubt = None

    async def _done(self, message: Incoming, command: AnyCommand, results: Results) -> None:
        reply: dict[str, Any] = {"results": [_told(result) for result in results[:RESULTS_MAX]]}
        if len(results) > RESULTS_MAX:
            reply["omitted"] = len(results) - RESULTS_MAX
        answer(message, reply)
        refused = sum(not result.accepted for result in results)
        log.info(
            "command.apply",
            command=command.command,
            sender=message.routing_key,
            accepted=len(results) - refused,
            refused=refused,
        )
        if isinstance(command, Drain):
            await self._drain(command.daemon_id)


def _allowed(command: AnyCommand, routing_key: str) -> str | None:
    """The tenant whose jobs the command may reach, None for all. Raises InvalidSubmission."""
    if routing_key == OPERATOR_KEY:
        # The tenant of a limit is what is set, not who asks; acting looks at it there.
        return command.tenant
    if not is_name(routing_key):
        raise InvalidSubmission(
            f"the routing key {routing_key!r} is neither a tenant nor {OPERATOR_KEY}", field="tenant"
        )
    if command.tenant not in (None, routing_key):
        raise InvalidSubmission(f"tenant is not that of the routing key, {routing_key!r}", field="tenant")
    if isinstance(command, OPERATORS_ONLY):
        raise InvalidSubmission(f"{command.command} is for {OPERATOR_KEY} only", code="refused", field="command")
    return routing_key


def _told(result: CommandResult | WorkflowResult | ScheduleResult) -> dict[str, Any]:
    if isinstance(result, ScheduleResult):
        return _told_of_schedule(result)
    if isinstance(result, WorkflowResult):
        told: dict[str, Any] = {f"{result.kind}_id": str(result.id)}
    else:
        told = {"job_id": str(result.job_id)}
    told |= {"status": result.status, "accepted": result.accepted, "code": result.code}
    if result.reason is not None:
        told["reason"] = result.reason
    if isinstance(result, CommandResult) and result.new_job_id is not None:
        told["new_job_id"] = str(result.new_job_id)
    return told


def _told_of_schedule(result: ScheduleResult) -> dict[str, Any]:
    told: dict[str, Any] = {"schedule": result.schedule, "paused": result.paused}
    told["next_fire_date"] = None if result.next_fire_date is None else result.next_fire_date.isoformat()
    told |= {"accepted": result.accepted, "code": result.code}
    if result.reason is not None:
        told["reason"] = result.reason
    if result.new_job_id is not None:
        told["new_job_id"] = str(result.new_job_id)
    if result.new_pipeline_id is not None:
        told["new_pipeline_id"] = str(result.new_pipeline_id)
    if result.waiting:
        told["waiting"] = result.waiting
    return told
