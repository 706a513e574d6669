"""Reads a submission message: a tree, or jobs as JSON texts that the SQL function `submit` takes. Asks no server."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from jobservice.broker.bodies import read_json
from jobservice.broker.incoming import Incoming
from jobservice.domain.errors import InvalidSubmission
from jobservice.domain.names import is_name
from jobservice.sdk.json_values import PARAMETERS_DEPTH_MAX, NotJson, dump, to_plain
from jobservice.submission.bounds import JOBS_MAX
from jobservice.submission.trees import Tree, is_tree, read_tree


@dataclass(frozen=True, slots=True)
class Submission:
    """A message and its jobs; `batch` where they came as an array, whose members have indexes.

    `keyed`: each job has an idempotency key, so sent again they are found, not stored twice.
    """

    message: Incoming
    jobs: tuple[str, ...]
    batch: bool
    keyed: bool

    @property
    def size(self) -> int:
        """Characters of its jobs."""
        return sum(map(len, self.jobs))


def read(message: Incoming, *, max_bytes: int) -> Submission | Tree:
    """The submission in `message`, tenant and idempotency key filled in. Raises InvalidSubmission."""
    content = read_json(message.body, max_bytes=max_bytes)
    key = f"amqp:{message.message_id}" if message.message_id else None
    if is_tree(content):
        return read_tree(content, message, tenant=_tenant_of(message), key=key)
    return _read_jobs(content, message, key)


def _read_jobs(content: Any, message: Incoming, key: str | None) -> Submission:
    batch = isinstance(content, list)
    members: Sequence[Any] = content if batch else [content]
    if len(members) > JOBS_MAX:
        raise InvalidSubmission(
            f"the batch has {len(members):,} jobs; at most {JOBS_MAX:,} are taken", code="too_large"
        )
    tenant = _tenant_of(message)
    jobs = []
    for index, job in enumerate(members):
        try:
            jobs.append(_text(job, tenant, f"{key}/{index}" if key and batch else key))
        except InvalidSubmission as error:
            raise placed(error, str(error), index if batch else None) from None
    keyed = all(job.get("idempotency_key") is not None for job in members)
    return Submission(message, tuple(jobs), batch, keyed)


def placed(error: InvalidSubmission, text: str, index: int | None) -> InvalidSubmission:
    """The refusal with the index of the batch's member that caused it, or none for a single job."""
    where = "" if index is None else f"job {index}: "
    return InvalidSubmission(where + text, code=error.code, field=error.field, index=index)


def _tenant_of(message: Incoming) -> str:
    tenant = message.routing_key
    if not is_name(tenant):
        raise InvalidSubmission(
            f"the routing key {tenant!r} is no tenant: it must match [A-Za-z0-9][A-Za-z0-9_-]{{0,63}}", field="tenant"
        )
    return tenant


def _text(job: Any, tenant: str, key: str | None) -> str:
    if not isinstance(job, dict):
        raise InvalidSubmission("a job must be an object")
    if is_tree(job):
        raise InvalidSubmission("a batch holds jobs only: send each pipeline as a message of its own", field="pipeline")
    if job.get("tenant") not in (None, tenant):
        raise InvalidSubmission(f"tenant is not that of the routing key, {tenant!r}", field="tenant")
    job["tenant"] = tenant
    if key is not None and job.get("idempotency_key") is None:
        job["idempotency_key"] = key
    try:
        return dump(to_plain(job, 1 + PARAMETERS_DEPTH_MAX))
    except NotJson as error:
        field = error.where.removeprefix(".") or None
        raise InvalidSubmission(f"{field}: {error.reason}" if field else error.reason, field=field) from None
