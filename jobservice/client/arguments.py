"""Arguments of the client's methods, checked and made plain."""

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from enum import StrEnum
from typing import Any, Final, TypeVar
from uuid import UUID

from jobservice.domain.errors import InvalidSubmission
from jobservice.domain.names import PRIORITIES, clean_text
from jobservice.domain.states import JobStatus
from jobservice.sdk.job_info import JobInfo
from jobservice.sdk.json_values import PARAMETERS_DEPTH_MAX, NotJson, dump, to_plain
from jobservice.store.job_reader import JobFilter

Status = TypeVar("Status", bound=StrEnum)

_REASON_MAX: Final = 1_000


def statuses_of(status: str | Iterable[str] | None, kind: type[Status]) -> list[Status] | None:
    """The statuses as a list; None where none is asked for. Raises InvalidSubmission for what is none of `kind`."""
    given = [status] if isinstance(status, str) else list(status or ())
    try:
        return [kind(each) for each in given] or None
    except ValueError as error:
        raise InvalidSubmission(f"{error}: it is one of {', '.join(kind)}", field="status") from None


def class_name(job_class: str | type | None) -> str | None:
    """The registered name of a job class, given as such or as the class."""
    if job_class is None or isinstance(job_class, str):
        return job_class
    return str(JobInfo(job_class).job_class)


def job_filter(
    *,
    tenant: str | None,
    status: JobStatus | Sequence[JobStatus] | None,
    job_class: str | type | None,
    owner: str | None,
    queue: str | None,
    parameters: Mapping[str, Any] | None,
) -> JobFilter:
    """The filter that `find` and `count` share. Raises InvalidSubmission for parameters that are no JSON."""
    try:
        contained = dump(to_plain(dict(parameters), PARAMETERS_DEPTH_MAX)) if parameters else None
    except NotJson as error:
        raise InvalidSubmission(f"parameters{error.where}: {error.reason}", field="parameters") from None
    return JobFilter(
        tenant=tenant,
        statuses=statuses_of(status, JobStatus),
        job_class=class_name(job_class),
        owner=owner,
        queue=queue,
        parameters=contained,
    )


def zoned(date: datetime | None) -> datetime | None:
    """The date. Raises InvalidSubmission where it has no zone."""
    if date is not None and date.utcoffset() is None:
        raise InvalidSubmission(
            f"expiration_date {date.isoformat()} has no time zone; give it one", field="expiration_date"
        )
    return date


def priority_number(priority: int | str) -> int:
    """A number of 32 bits, from a number or a name. Raises InvalidSubmission."""
    if isinstance(priority, str):
        if priority not in PRIORITIES:
            raise InvalidSubmission(f"priority is a number or one of {', '.join(PRIORITIES)}", field="priority")
        return PRIORITIES[priority]
    if not -(2**31) <= priority < 2**31:
        raise InvalidSubmission("priority must be a whole number of 32 bits", field="priority")
    return priority


def ids_of(ids: Sequence[UUID | str]) -> list[UUID]:
    """The ids, some of them perhaps as text. Raises InvalidSubmission for what is none."""
    return [_id(each) for each in ids]


def page_size(limit: int) -> int:
    """How many may be on a page. Raises InvalidSubmission."""
    if isinstance(limit, bool) or not isinstance(limit, int) or limit < 1:
        raise InvalidSubmission(f"limit is a whole number from 1, not {limit!r}", field="limit")
    return limit


def plain_object(name: str, value: Mapping[str, Any], *, depth: int = PARAMETERS_DEPTH_MAX) -> dict[str, Any]:
    """An object as JSON can hold it. Raises InvalidSubmission, naming the place in it."""
    try:
        plain = to_plain(value, depth)
        dump(plain)
    except NotJson as error:
        field = (name + error.where).removeprefix(".") or None
        raise InvalidSubmission(f"{field}: {error.reason}" if field else error.reason, field=field) from None
    if not isinstance(plain, dict):
        what = name or "this"
        raise InvalidSubmission(f"{what} is an object, not {type(value).__name__}", field=name or None)
    return plain


def reason_text(reason: str | None) -> str | None:
    """A reason as the database can hold it. Raises InvalidSubmission."""
    if reason is not None and not isinstance(reason, str):
        raise InvalidSubmission(f"reason is a text, not {type(reason).__name__}", field="reason")
    return None if reason is None else clean_text(reason, _REASON_MAX)


def _id(given: UUID | str) -> UUID:
    try:
        return given if isinstance(given, UUID) else UUID(given)
    except (ValueError, AttributeError, TypeError):
        raise InvalidSubmission(f"{given!r} is no id: a UUID is asked for", field="id") from None
