"""What a client with a broker asks of daemons: submissions and commands, and the errors that their answers tell of."""

from typing import Any, NamedTuple
from uuid import UUID

from jobservice.broker.names import OPERATOR_KEY
from jobservice.client.broker import ClientBroker
from jobservice.client.requests import Requests
from jobservice.domain.errors import (
    InvalidSubmission,
    JobServiceError,
    NotLegal,
    UnavailableError,
    UnknownJob,
    UnknownPipeline,
    UnknownStage,
)
from jobservice.sdk.json_values import dump


class Grown(NamedTuple):
    """What a submission adds to, and in which words a refusal says so."""

    kind: str
    id: UUID
    verb: str


class Asking:
    """One way to the daemons, shared by all that a client asks."""

    def __init__(self, *, broker: ClientBroker, tenant: str | None) -> None:
        """`tenant` signs commands; None: the operator's key, which may act on every tenant's."""
        self.tenant = tenant
        self._names = broker.names
        self._requests = Requests(broker=broker)

    async def submit(self, tenant: str, submission: str, *, to: Grown | None = None) -> dict[str, Any]:
        """The answer to a submission (JSON) for a tenant; `to`: what it is added to.

        Raises InvalidSubmission, UnknownPipeline, UnknownStage, NotLegal, UnavailableError.
        """
        return _accepted(await self._requests.ask(self._names.submit, tenant, submission.encode()), to)

    async def command(self, body: dict[str, Any]) -> dict[str, Any]:
        """The answer to a command. Raises InvalidSubmission, UnavailableError."""
        return _accepted(await self._requests.ask(self._names.command, self._key, dump(body).encode()), None)

    async def send(self, body: dict[str, Any]) -> None:
        """A command whose answer nobody waits for."""
        await self._requests.send(self._names.command, self._key, dump(body).encode())

    async def close(self) -> None:
        """Stop listening."""
        await self._requests.close()

    @property
    def _key(self) -> str:
        return self.tenant or OPERATOR_KEY


def _accepted(reply: dict[str, Any], to: Grown | None) -> dict[str, Any]:
    """The reply, or the error that it tells of."""
    error = reply.get("error")
    if error is not None:
        raise _error(error, to)
    return reply


def _error(told: dict[str, Any], to: Grown | None) -> JobServiceError:
    code, message, details = told["code"], told["message"], told.get("details") or {}
    match code:
        case "unavailable":
            return UnavailableError(message)
        case "unknown_job":
            return UnknownJob(details.get("job_id", message))
        case "unknown_pipeline" if to is not None:
            return UnknownPipeline(to.id)
        case "unknown_stage" if to is not None:
            return UnknownStage(to.id)
        case "not_legal" if to is not None:
            return NotLegal(to.id, to.verb, details.get("status", "in another status"), kind=to.kind)
        case "not_legal":
            return NotLegal(details.get("job_id"), "change", details.get("status", "in another status"))
    return InvalidSubmission(message, code=code, field=details.get("field"), index=details.get("index"))
