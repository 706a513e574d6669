"""What the demo claims, each claim a function of the record. Pure: a doctored record shows that each one can fail."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final
from uuid import UUID

from jobservice.demo.plan import CAPACITY, ENDINGS, Ending, Part
from jobservice.demo.record import Record
from jobservice.domain.states import JobStatus
from jobservice.sdk.job_info import JobInfo

_TOLD_AT_MOST = 3
_NO_JOB = "no job was accepted"


@dataclass(frozen=True, slots=True)
class Check:
    """One claim: whether it holds, and the figures, or what speaks against it."""

    claim: str
    holds: bool
    detail: str


def judged(record: Record) -> list[Check]:
    """All claims, in the order in which they are told."""
    return [check(record) for check in ALL]


def one_final_status(record: Record) -> Check:
    """Each job of the plan was accepted and has one final event, and no other job has any."""
    events = record.events_by_job()
    wrong = [
        f"{_name(record, job_id)}: {len(finals)} final events"
        for job_id in record.parts
        if len(finals := [event for event in events.get(job_id, []) if event.final]) != 1
    ]
    wrong += [f"events of a job that nobody submitted: {job_id}" for job_id in events if job_id not in record.parts]
    if len(record.parts) != record.planned or not record.parts:
        wrong.append(f"{len(record.parts)} jobs were accepted, of {record.planned}")
    return _check("every job has exactly one final status", wrong, f"{len(record.parts)} jobs")


def events_complete_and_in_order(record: Record) -> Check:
    """Sequence 2, 3, … to the last one of the row, in the order received."""
    events = record.events_by_job()
    wrong = [] if record.parts else [_NO_JOB]
    for job_id in record.parts:
        heard = [event.sequence for event in events.get(job_id, [])]
        row = record.rows.get(job_id)
        if not heard or heard != list(range(2, 2 + len(heard))) or row is None or row.sequence != heard[-1]:
            wrong.append(f"{_name(record, job_id)}: sequences {heard}, {row.sequence if row else 'none'} in its row")
    return _check("every job's events are complete and in order", wrong, f"{record.distinct_events} events")


def database_agrees(record: Record) -> Check:
    """The status in the row is that of the last event."""
    events = record.events_by_job()
    wrong = [] if record.parts else [_NO_JOB]
    for job_id in record.parts:
        told = events[job_id][-1].status if events.get(job_id) else None
        stored = record.rows[job_id].status if job_id in record.rows else None
        if told is None or told != stored:
            wrong.append(f"{_name(record, job_id)}: {stored} in its row, {told} in its last event")
    return _check("the database and the last events agree", wrong, f"{len(record.rows)} rows")


def nothing_unpublished(record: Record) -> Check:
    """The outbox is empty once the daemon has left."""
    wrong = [f"{record.unpublished} rows"] if record.unpublished else []
    return _check("nothing is left in the outbox", wrong, "")


def daemon_left_in_order(record: Record) -> Check:
    """SIGTERM drained it."""
    wrong = [f"it ended with {record.daemon_exit}"] if record.daemon_exit != 0 else []
    return _check("the daemon drained and left with exit 0", wrong, "")


def workspace_empty(record: Record) -> Check:
    """No job left a file, not even the stopped one, which had one open."""
    return _check("the workspace directory is empty", record.workspace, "")


def ended_as_planned(record: Record) -> Check:
    """The status that the part foresees, whatever the job went through."""
    wrong = [f"no job is {part}" for part in ENDINGS if part not in record.parts.values()]
    for part, ending in ENDINGS.items():
        for job_id in record.ids_of(part):
            row = record.rows.get(job_id)
            if row is None or row.status is not ending.status:
                wrong.append(f"{_name(record, job_id)}: {row.status if row else 'no row'}, not {ending.status}")
    counted = [sum(row.status is status for row in record.rows.values()) for status in JobStatus if status.final]
    return _check("every job ended as planned", wrong, "{} SUCCEEDED, {} FAILED, {} ABORTED".format(*counted))


def late_job_overtook(record: Record) -> Check:
    """Of the jobs submitted before the late one, only what is claimed along with it may have been claimed earlier."""
    claim = "an urgent job, submitted last, overtook those that waited"
    late = record.job_of(Part.LATE)
    if late is None or late.claim_date is None:
        return Check(claim, False, "it was never claimed")
    waiting = [row for row in _rows(record, Part.WORK) if row.tenant == late.tenant and _number(row) < _number(late)]
    overtaken = sum(row.claim_date is not None and row.claim_date > late.claim_date for row in waiting)
    submitted_last = all((row.number or 0) < (late.number or 0) for row in waiting)
    holds = submitted_last and overtaken > 0 and overtaken >= len(waiting) - (CAPACITY - 1)
    return Check(claim, holds, f"{overtaken} of {len(waiting)} started after it")


def stopped_while_running(record: Record) -> Check:
    """The stop went through the control queue, was accepted, and met a run."""
    return _stopped(record, Part.STOPPED_RUNNING, "a running job was stopped through the control queue", runs=True)


def stopped_before_start(record: Record) -> Check:
    """As above, and it never was RUNNING."""
    return _stopped(record, Part.STOPPED_WAITING, "a waiting job was stopped and never started", runs=False)


def foreign_submission(record: Record) -> Check:
    """The reply named one job, and that job is in the books."""
    reply = record.replies.get(Part.FOREIGN, {})
    job = record.job_of(Part.FOREIGN)
    answered = job is not None and reply.get("job_ids") == [str(job.job_id)]
    ran = job is not None and job.status is JobStatus.SUCCEEDED
    detail = f"the reply was {reply}, the job is {job.status if job else 'missing'}"
    return Check(
        "a bare AMQP message was answered and its job ran", answered and ran, "" if ran and answered else detail
    )


def failures_say_why(record: Record) -> Check:
    """The text that belongs to each cause; a stack trace where the job itself raised; never RUNNING before."""
    failing = {part: ending for part, ending in ENDINGS.items() if ending.status is JobStatus.FAILED}
    wrong = [problem for part, ending in failing.items() if (problem := _failure_problem(record, part, ending))]
    return _check("the failed jobs say why", wrong, f"{len(failing)} causes, one with its stack trace")


def checksums_right(record: Record) -> Check:
    """A sample of all files, digested once more."""
    wrong = [f"{each.file} differs" for each in record.compared if each.by_job != each.by_hashlib]
    if not record.compared:
        wrong = ["there was no file to compare"]
    return _check("a sample of the checksums agrees with hashlib", wrong, f"{len(record.compared)} files")


ALL: Final[Sequence[Callable[[Record], Check]]] = (
    one_final_status,
    ended_as_planned,
    events_complete_and_in_order,
    database_agrees,
    nothing_unpublished,
    late_job_overtook,
    foreign_submission,
    stopped_while_running,
    stopped_before_start,
    failures_say_why,
    checksums_right,
    workspace_empty,
    daemon_left_in_order,
)


def _check(claim: str, wrong: Sequence[str], detail: str) -> Check:
    if not wrong:
        return Check(claim, True, detail)
    more = f" and {len(wrong) - _TOLD_AT_MOST} more" if len(wrong) > _TOLD_AT_MOST else ""
    return Check(claim, False, "; ".join(wrong[:_TOLD_AT_MOST]) + more)


def _stopped(record: Record, part: Part, claim: str, *, runs: bool) -> Check:
    job = record.job_of(part)
    if job is None or job.job_id is None:
        return Check(claim, False, "there is no such job")
    heard = [event.status for event in record.events_by_job().get(job.job_id, [])]
    results = record.replies.get(part, {}).get("results", [])
    accepted = [result.get("accepted") for result in results] == [True]
    holds = accepted and job.status is JobStatus.ABORTED and (JobStatus.RUNNING in heard) is runs
    return Check(claim, holds, " → ".join(heard) if accepted else f"the reply was {record.replies.get(part)}")


def _failure_problem(record: Record, part: Part, ending: Ending) -> str | None:
    job = record.job_of(part)
    if job is None or job.job_id is None:
        return f"the job {part} is missing"
    if (ending.error or "") not in (job.error_message or ""):
        return f"the job {part} says {job.error_message!r}"
    if ending.traced and not job.stack_trace:
        return f"the job {part} has no stack trace"
    if not ending.runs and any(event.status is JobStatus.RUNNING for event in record.events_by_job()[job.job_id]):
        return f"the job {part} was RUNNING"
    return None


def _rows(record: Record, part: Part) -> list[JobInfo]:
    return [record.rows[job_id] for job_id in record.ids_of(part) if job_id in record.rows]


def _number(job: JobInfo) -> int:
    return int(job.priority)


def _name(record: Record, job_id: UUID) -> str:
    return f"job {job_id} ({record.parts[job_id]})"
