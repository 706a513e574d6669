"""Arguments of the client's methods, checked and made plain."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, Final

from jobservice.domain.errors import InvalidSubmission
from jobservice.domain.names import PRIORITIES, clean_text
from jobservice.domain.states import JobStatus
from jobservice.sdk.job_info import JobInfo
from jobservice.sdk.json_values import PARAMETERS_DEPTH_MAX, NotJson, dump, to_plain
from jobservice.store.job_reader import JobFilter

_REASON_MAX: Final = 1_000


def statuses_of(status: JobStatus | Sequence[JobStatus] | None) -> list[JobStatus] | None:
    """The statuses as a list; None where none is asked for."""
    if status is None:
        return None
    return [JobStatus(status)] if isinstance(status, str) else [JobStatus(each) for each in status] or None


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
        statuses=statuses_of(status),
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
    """A reason as the database can hold it."""
    return None if reason is None else clean_text(reason, _REASON_MAX)
