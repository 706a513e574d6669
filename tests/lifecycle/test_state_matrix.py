"""Every status by every verb over the real SQL, held against the pure table: the legal ones write just that."""

import time
from typing import Any
from uuid import UUID

import asyncpg
import pytest
from factory import held_run, make_daemon, make_job, make_queue, outbox_rows, row_of
from verbs import (
    ABORTED,
    ERROR,
    FAILED,
    ILLEGAL,
    LEGAL,
    OUTCOMES,
    PENDING,
    QUEUED,
    REPORTED,
    RUNNING,
    SUCCEEDED,
    TO_BE_RUN,
    WAYS,
    Hands,
    Way,
    expected,
    given_job,
)  # fmt: skip

from jobservice.domain.states import LIVE, WAITING, JobStatus
from jobservice.domain.transitions import Verb, targets


@pytest.fixture
async def hands(connection: asyncpg.Connection, daemon: UUID, writer_of: Any) -> Hands:
    return Hands(connection, daemon, writer_of)


def test_all_that_the_table_allows_is_tried() -> None:
    tried = {(status, way.verb, expected(status, way)) for status, way in LEGAL}
    of_pipelines = {(status, Verb.RESTART, JobStatus.PENDING) for status in (FAILED, JobStatus.ABORTED)}

    table = {(s, v, to) for s in JobStatus for v in Verb for to in targets(s, v)}
    assert tried | of_pipelines == table, "a pipeline's restart is tried in tests/workflow"


@pytest.mark.parametrize(("status", "way"), LEGAL, ids=str)
async def test_a_legal_verb_writes_the_status_of_the_table_its_dates_and_one_fact(
    hands: Hands, status: JobStatus, way: Way
) -> None:
    job_id, before = await given_job(hands, status, way)
    target = expected(status, way)

    await hands.do(way, job_id, before["run"])

    after = await row_of(hands.connection, job_id)
    assert after["status"] == target
    if status in LIVE and way.verb is Verb.STOP:
        assert after["stop_requested_at"] is not None
        assert after["sequence"] == before["sequence"]
        assert await outbox_rows(hands.connection) == []
        return
    assert after["sequence"] == before["sequence"] + 1
    assert after["run"] == before["run"] + (way.verb is Verb.CLAIM)
    check_attempt(way, before, after)
    check_dates(target, before, after)
    rows = await outbox_rows(hands.connection)
    (fact,) = [fact for row in rows for fact in row if fact.job_id == job_id]  # parts are told of, too
    check_fact(fact, before, after, way)


@pytest.mark.parametrize(("status", "way"), ILLEGAL, ids=str)
async def test_an_illegal_verb_writes_nothing_at_all_and_says_the_status(
    hands: Hands, status: JobStatus, way: Way
) -> None:
    job_id, before = await given_job(hands, status, way)

    said = await hands.do(way, job_id, before["run"])

    assert await row_of(hands.connection, job_id) == before
    assert await outbox_rows(hands.connection) == []
    silent = way.verb in (Verb.CLAIM, Verb.RESCUE, Verb.EXPIRE)
    repeated_start = way.verb is Verb.START and status is RUNNING  # its answer was lost: it is as wanted
    # Kept as a report that cannot be written yet: what the job itself brought about needs its start.
    unstarted = status is TO_BE_RUN and (way.to is SUCCEEDED or way.verb in (Verb.RETRY, Verb.PARK))
    assert said == (None if silent or repeated_start or unstarted else status)


def check_attempt(way: Way, before: dict[str, Any], after: dict[str, Any]) -> None:
    change = after["attempt"] - before["attempt"]
    if way.verb is Verb.CLAIM:
        assert change == 1
    elif way.verb is Verb.RESTART:
        assert after["attempt"] == 0
    elif way.verb in (Verb.HAND_BACK, Verb.RESCUE, Verb.PARK) and after["status"] in WAITING:
        assert change == -1, "the run that the claim counted is given back"
    else:
        assert change == 0
    assert after["lost_runs"] == (before["lost_runs"] + 1 if way.verb is Verb.RESCUE else 0)


def check_dates(target: JobStatus, before: dict[str, Any], after: dict[str, Any]) -> None:
    new = {name for name in ("queued_date", "claim_date", "start_date", "stop_date") if after[name] != before[name]}
    fresh = {name for name in new if after[name] is not None}
    match target:
        case JobStatus.QUEUED:
            assert fresh == {"queued_date"}
            assert after["claim_date"] is after["start_date"] is after["stop_date"] is after["daemon_id"] is None
            assert after["held"] is after["error_message"] is after["result"] is after["stop_requested_at"] is None
            assert not after["blocked"]
        case JobStatus.PENDING:
            assert fresh == set()
            assert after["held"] in ("backoff", "parts")
            assert (after["held"] == "parts") == (after["trigger_after_date"] is None)
            assert after["claim_date"] is after["start_date"] is after["stop_date"] is after["daemon_id"] is None
            assert after["error_message"] is None
        case JobStatus.TO_BE_RUN:
            assert fresh == {"claim_date"}
            assert after["daemon_id"] is not None
        case JobStatus.RUNNING:
            assert fresh == {"start_date"}
        case _:
            assert fresh == {"stop_date"}
            assert after["held"] is None
            assert (after["error_message"] is not None) == (target is FAILED)
            assert (after["percent_completed"] == 100) == (target is SUCCEEDED)


def check_fact(fact: Any, before: dict[str, Any], after: dict[str, Any], way: Way) -> None:
    assert (fact.job_id, fact.sequence, fact.run) == (after["id"], after["sequence"], after["run"])
    assert (fact.status, fact.previous_status) == (after["status"], before["status"])
    assert (fact.attempt, fact.priority) == (after["attempt"], after["priority"])
    assert fact.percent_completed == after["percent_completed"]
    dates = {QUEUED: "queued_date", TO_BE_RUN: "claim_date", RUNNING: "start_date"}
    if way.verb is not Verb.RESCUE and after["status"] != PENDING:
        assert fact.time == after[dates.get(after["status"], "stop_date")]
    by_daemon = way.verb in (Verb.CLAIM, *REPORTED) and after["status"] not in WAITING
    assert (fact.daemon_id is not None) == by_daemon
    assert fact.will_retry == (way.verb is Verb.RETRY and after["status"] in WAITING)
    error = {"type": after["error_type"], "message": after["error_message"]}
    assert fact.error == (ERROR if fact.will_retry else error if after["status"] == FAILED else None)


FENCED = [way for way in WAYS if way.verb in REPORTED]


@pytest.mark.parametrize("wrong", ["an older run", "another daemon"])
@pytest.mark.parametrize("way", FENCED, ids=str)
@pytest.mark.parametrize("status", sorted(LIVE))
async def test_a_stale_run_writes_nothing_and_is_told_the_status(
    hands: Hands, status: JobStatus, way: Way, wrong: str
) -> None:
    job_id, _ = await given_job(hands, status, way)
    if wrong == "another daemon":
        other = await make_daemon(hands.connection)
        await hands.connection.execute("UPDATE jobservice.job_info SET daemon_id = $1", other)
    before = await row_of(hands.connection, job_id)
    run = before["run"] - (wrong == "an older run")

    await hands.do(way, job_id, run)

    assert await row_of(hands.connection, job_id) == before
    assert await outbox_rows(hands.connection) == []
    assert hands.told.stale_runs == [(job_id, run, status)]
    assert hands.told.committed == []


@pytest.mark.parametrize("ended", [SUCCEEDED, FAILED, ABORTED])
@pytest.mark.parametrize("status", [TO_BE_RUN, RUNNING])
async def test_a_repeated_finish_by_the_same_run_is_done_not_stale_and_tells_no_second_fact(
    hands: Hands, status: JobStatus, ended: JobStatus
) -> None:
    job_id = await make_job(hands.connection, status, daemon=hands.daemon)
    run = held_run(job_id, 1, started_at=time.monotonic())
    hands.writer.finish(run, OUTCOMES[ended])
    await hands.writer.run_once()
    before = await row_of(hands.connection, job_id)

    hands.writer.finish(run, OUTCOMES[ended])
    await hands.writer.run_once()

    assert await row_of(hands.connection, job_id) == before
    assert hands.told.settled_runs == 2 * [(job_id, 1, ended)]
    assert hands.told.stale_runs == []
    assert len(await outbox_rows(hands.connection)) == 1
    assert len(hands.told.committed) == 1


async def test_an_unknown_job_is_told_as_such(hands: Hands) -> None:
    await make_queue(hands.connection)
    gone = UUID(int=1)

    hands.writer.finish(held_run(gone, 1), OUTCOMES[FAILED])
    await hands.writer.run_once()

    assert hands.told.stale_runs == [(gone, 1, None)]


@pytest.mark.parametrize("status", sorted(WAITING))
async def test_a_row_that_does_not_fit_its_status_can_be_written_by_nobody(
    connection: asyncpg.Connection, status: JobStatus
) -> None:
    wrong = {"held": None} if status is PENDING else {"queued_date": None}

    with pytest.raises(asyncpg.CheckViolationError):
        await make_job(connection, status, **wrong)
