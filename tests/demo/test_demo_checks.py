"""Each check of the demo can fail: a good record passes all of them, and a doctored one fails the check it is for."""

from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from uuid import uuid4

import pytest
from records import change_row, events_of, good_record, id_of

from jobservice.demo import checks
from jobservice.demo.checks import Check, judged
from jobservice.demo.plan import Part
from jobservice.demo.record import Compared, Record
from jobservice.domain.states import JobStatus

Doctor = Callable[[Record], None]


def failing(record: Record) -> set[str]:
    return {check.claim for check in judged(record) if not check.holds}


def claim_of(check: Callable[[Record], Check]) -> str:
    return check(good_record()).claim


def test_a_good_record_passes_every_check() -> None:
    assert failing(good_record()) == set()


def test_repeated_events_change_nothing() -> None:
    record = good_record()
    record.events += record.events[:40]
    record.events.insert(3, record.events[0])

    assert failing(record) == set()


def test_an_empty_record_passes_next_to_nothing() -> None:
    holding = {check.claim for check in judged(Record()) if check.holds}

    assert holding <= {
        claim_of(checks.nothing_unpublished),
        claim_of(checks.workspace_empty),
        claim_of(checks.daemon_left_in_order),
    }


def lose_last_event(record: Record) -> None:
    record.events.remove(events_of(record, Part.WORK)[-1])


def lose_middle_event(record: Record) -> None:
    record.events.remove(events_of(record, Part.WORK)[1])


def lose_all_events(record: Record) -> None:
    for event in events_of(record, Part.WORK):
        record.events.remove(event)


def swap_events(record: Record) -> None:
    first, second = events_of(record, Part.WORK)[:2]
    one, other = record.events.index(first), record.events.index(second)
    record.events[one], record.events[other] = second, first


def end_twice(record: Record) -> None:
    last = events_of(record, Part.WORK)[-1]
    sequence = last.sequence + 1
    record.events.append(replace(last, id=f"{last.job_id}:{sequence}", sequence=sequence))
    change_row(record, Part.WORK, sequence=sequence)


def hear_of_a_stranger(record: Record) -> None:
    record.events.append(replace(events_of(record, Part.WORK)[-1], job_id=uuid4(), id="stranger:2"))


def fail_work(record: Record) -> None:
    change_row(record, Part.WORK, status=JobStatus.FAILED)
    last = events_of(record, Part.WORK)[-1]
    record.events[record.events.index(last)] = replace(last, status=JobStatus.FAILED)


def lose_row(record: Record) -> None:
    del record.rows[id_of(record, Part.WORK)]


def claim_late_job_last(record: Record) -> None:
    claims = [row.claim_date for row in record.rows.values() if row.claim_date]
    change_row(record, Part.LATE, claim_date=max(claims) + timedelta(seconds=1))


def submit_late_job_first(record: Record) -> None:
    change_row(record, Part.LATE, number=0)


def let_running_job_never_start(record: Record) -> None:
    running = next(event for event in events_of(record, Part.STOPPED_RUNNING) if event.status is JobStatus.RUNNING)
    record.events[record.events.index(running)] = replace(running, status=JobStatus.TO_BE_RUN)


def let_waiting_job_start(record: Record) -> None:
    last = events_of(record, Part.STOPPED_WAITING)[-1]
    started = replace(last, id=f"{last.job_id}:1b", status=JobStatus.RUNNING, final=False)
    record.events.insert(record.events.index(last), started)


def start_job_without_parameter(record: Record) -> None:
    first = events_of(record, Part.MISSING_PARAMETER)[0]
    record.events[record.events.index(first)] = replace(first, status=JobStatus.RUNNING)


DOCTORED: list[tuple[Callable[[Record], Check], Doctor]] = [
    (checks.one_final_status, lose_last_event),
    (checks.one_final_status, end_twice),
    (checks.one_final_status, hear_of_a_stranger),
    (checks.one_final_status, lambda record: setattr(record, "planned", record.planned + 1)),
    (checks.ended_as_planned, fail_work),
    (checks.ended_as_planned, lambda record: record.parts.pop(id_of(record, Part.BROKEN))),
    (checks.ended_as_planned, lose_row),
    (checks.events_complete_and_in_order, lose_middle_event),
    (checks.events_complete_and_in_order, lose_last_event),
    (checks.events_complete_and_in_order, lose_all_events),
    (checks.events_complete_and_in_order, swap_events),
    (checks.database_agrees, lambda record: change_row(record, Part.WORK, status=JobStatus.ABORTED)),
    (checks.database_agrees, lose_row),
    (checks.nothing_unpublished, lambda record: setattr(record, "unpublished", 1)),
    (checks.late_job_overtook, claim_late_job_last),
    (checks.late_job_overtook, submit_late_job_first),
    (checks.late_job_overtook, lambda record: change_row(record, Part.LATE, claim_date=None)),
    (checks.foreign_submission, lambda record: record.replies.pop(Part.FOREIGN)),
    (checks.foreign_submission, lambda record: record.replies[Part.FOREIGN].update(job_ids=[str(uuid4())])),
    (checks.foreign_submission, lambda record: record.parts.pop(id_of(record, Part.FOREIGN))),
    (checks.foreign_submission, lambda record: change_row(record, Part.FOREIGN, status=JobStatus.FAILED)),
    (checks.stopped_while_running, lambda record: record.replies.pop(Part.STOPPED_RUNNING)),
    (
        checks.stopped_while_running,
        lambda record: record.replies[Part.STOPPED_RUNNING]["results"][0].update(accepted=0),
    ),
    (checks.stopped_while_running, lambda record: change_row(record, Part.STOPPED_RUNNING, status=JobStatus.SUCCEEDED)),
    (checks.stopped_while_running, let_running_job_never_start),
    (checks.stopped_before_start, lambda record: record.replies.update({Part.STOPPED_WAITING: {"results": []}})),
    (checks.stopped_before_start, let_waiting_job_start),
    (checks.failures_say_why, lambda record: change_row(record, Part.EXPIRED, error_message="no idea")),
    (checks.failures_say_why, lambda record: change_row(record, Part.BROKEN, stack_trace=None)),
    (checks.failures_say_why, lambda record: record.parts.pop(id_of(record, Part.BROKEN))),
    (checks.failures_say_why, start_job_without_parameter),
    (checks.checksums_right, lambda record: record.compared.append(Compared("/lib/c.py", "5e", "0f"))),
    (checks.checksums_right, lambda record: record.compared.clear()),
    (checks.workspace_empty, lambda record: record.workspace.append("left")),
    (checks.daemon_left_in_order, lambda record: setattr(record, "daemon_exit", -9)),
    (checks.daemon_left_in_order, lambda record: setattr(record, "daemon_exit", None)),
]


@pytest.mark.parametrize(("check", "doctor"), DOCTORED)
def test_a_doctored_record_fails_the_check_that_it_is_for(check: Callable[[Record], Check], doctor: Doctor) -> None:
    record = good_record()

    doctor(record)

    assert not check(record).holds
    assert check(record).detail
    assert claim_of(check) in failing(record)


def test_every_check_is_shown_to_fail() -> None:
    assert {check for check, _ in DOCTORED} == set(checks.ALL)
