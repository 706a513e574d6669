"""A record of a demo in which all went well, made without any server, for tests to doctor."""

from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from uuid import UUID, uuid4

from jobservice.broker.messages import JobEvent
from jobservice.demo.library import Directory
from jobservice.demo.plan import CAPACITY, DIRECTORIES, ENDINGS, Part, Plan, Planned, planned
from jobservice.demo.record import Compared, Record
from jobservice.domain.states import JobStatus
from jobservice.sdk.job_info import JobInfo

NOON = datetime(2026, 1, 31, 12, tzinfo=UTC)
_WAYS = {
    (JobStatus.SUCCEEDED, True): [JobStatus.TO_BE_RUN, JobStatus.RUNNING, JobStatus.SUCCEEDED],
    (JobStatus.FAILED, True): [JobStatus.TO_BE_RUN, JobStatus.RUNNING, JobStatus.FAILED],
    (JobStatus.FAILED, False): [JobStatus.TO_BE_RUN, JobStatus.FAILED],
    (JobStatus.ABORTED, True): [JobStatus.TO_BE_RUN, JobStatus.RUNNING, JobStatus.ABORTED],
    (JobStatus.ABORTED, False): [JobStatus.ABORTED],
}
"""How a job gets to its end, by that end and whether it runs."""


def some_plan(directories: int = DIRECTORIES) -> Plan:
    return planned([Directory(Path(f"/lib/{n}"), f"tree {n}", files=10 + n) for n in range(directories)], "DigestTree")


def good_record() -> Record:
    """As a faultless daemon would leave it: one claim after the other, the late job in the first of its tenant."""
    plan = some_plan()
    foreign = Planned(Part.FOREIGN, JobInfo("DigestTree", tenant="borealis"))
    jobs = sum(plan.jobs_by_tenant.values())
    record = Record(
        planned=jobs, seconds=1.5, compared=[Compared("/lib/0/a.py", "5e", "5e"), Compared("/lib/1/b.py", "0f", "0f")]
    )
    together = sorted([*plan.together, plan.expiring, foreign], key=lambda each: -int(each.job.priority))
    order = [plan.late, *together]
    for number, each in enumerate([*plan.together, plan.expiring, foreign, plan.late], start=1):
        row = _ended(each, number, claimed=order.index(each) // CAPACITY)
        assert row.job_id is not None
        record.parts[row.job_id] = each.part
        record.rows[row.job_id] = row
        record.events += _events(row, ENDINGS[each.part].runs)
    foreign_id = next(record.ids_of(Part.FOREIGN))
    record.replies[Part.FOREIGN] = {"job_ids": [str(foreign_id)]}
    for part in (Part.STOPPED_RUNNING, Part.STOPPED_WAITING):
        job_id = str(next(record.ids_of(part)))
        record.replies[part] = {"results": [{"job_id": job_id, "status": "ABORTED", "accepted": True, "code": None}]}
    return record


def id_of(record: Record, part: Part) -> UUID:
    """The first job that plays this part."""
    return next(record.ids_of(part))


def change_row(record: Record, part: Part, **changes: object) -> None:
    job_id = id_of(record, part)
    record.rows[job_id] = replace(record.rows[job_id], **changes)  # type: ignore[arg-type]


def events_of(record: Record, part: Part) -> list[JobEvent]:
    job_id = id_of(record, part)
    return [event for event in record.events if event.job_id == job_id]


def _ended(each: Planned, number: int, claimed: int) -> JobInfo:
    ending = ENDINGS[each.part]
    claim_date = NOON + timedelta(milliseconds=50 * (claimed + 1))
    starts = ending.runs
    return replace(
        each.job,
        job_id=uuid4(),
        number=number,
        status=ending.status,
        sequence=1 + len(_WAYS[ending.status, ending.runs]),
        queued_date=NOON,
        claim_date=claim_date,
        start_date=claim_date + timedelta(milliseconds=1) if starts else None,
        error_message=f"why: {ending.error}" if ending.error else None,
        stack_trace="Traceback …" if ending.traced else None,
        result={"root": "/lib", "count": 2, "bytes": 100, "manifest": {}} if _digests(ending.status) else None,
    )


def _digests(status: JobStatus) -> bool:
    return status is JobStatus.SUCCEEDED


def _events(row: JobInfo, runs: bool) -> Iterator[JobEvent]:
    previous = JobStatus.QUEUED
    for sequence, status in enumerate(_WAYS[row.status, runs], start=2):
        assert row.job_id is not None
        yield JobEvent(
            id=f"{row.job_id}:{sequence}",
            time=NOON,
            job_id=row.job_id,
            tenant=row.tenant,
            queue="default",
            job_class=str(row.job_class),
            status=status,
            previous_status=previous,
            final=status.final,
            sequence=sequence,
            description=row.description,
            error={"type": "ValueError", "message": row.error_message} if status is JobStatus.FAILED else None,
        )
        previous = status
