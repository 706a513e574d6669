"""What a claim takes, in which order, and what it leaves alone."""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

import asyncpg
import pytest
from factory import SETTLER, make_daemon, make_job, make_queue, outbox_rows, row_of
from races import begun

from jobservice.domain.states import JobStatus
from jobservice.lifecycle.claim import Claim, Claimer
from jobservice.lifecycle.commands import Commands
from jobservice.lifecycle.limits import Limits
from jobservice.lifecycle.submission import Submitter
from jobservice.lifecycle.upkeep import Upkeep

LONG_GONE = datetime(2026, 1, 1, tzinfo=UTC)


async def claim(
    connection: asyncpg.Connection,
    daemon: UUID,
    *,
    slots: int = 10,
    queue: str = "default",
    skipped: Sequence[str] = (),
) -> Claim:
    claimer = Claimer(daemon_id=daemon, schema="jobservice", submissions_published=False)
    return await claimer.claim(connection, queue=queue, slots=slots, skipped_classes=skipped, charges={})


def ids(claimed: Claim) -> set[UUID]:
    return {job.card.job_id for job in claimed.jobs}


async def test_classes_of_one_tenant_may_be_left_out(connection: asyncpg.Connection, daemon: UUID) -> None:
    await make_job(connection, tenant="acme", job_class="Nap")
    other_class = await make_job(connection, tenant="acme", job_class="Rest")
    other_tenant = await make_job(connection, tenant="zoo", job_class="Nap")

    assert ids(await claim(connection, daemon, skipped=["acme/Nap"])) == {other_class, other_tenant}


async def test_the_higher_priority_comes_first_and_among_equals_the_earlier_submission(
    connection: asyncpg.Connection, daemon: UUID
) -> None:
    low = await make_job(connection, priority=-100)
    first = await make_job(connection, priority=5)
    second = await make_job(connection, priority=5)
    high = await make_job(connection, priority=2**31 - 1)

    order = [ids(await claim(connection, daemon, slots=1)) for _ in range(4)]

    assert order == [{high}, {first}, {second}, {low}]


async def test_a_job_that_was_handed_back_keeps_its_place(connection: asyncpg.Connection, daemon: UUID) -> None:
    earlier = await make_job(connection, run=3, sequence=7)
    later = await make_job(connection)
    await connection.execute("UPDATE jobservice.job_info SET queued_date = clock_timestamp() WHERE id = $1", earlier)

    claimed = await claim(connection, daemon, slots=1)

    assert ids(claimed) == {earlier}
    assert (await row_of(connection, later))["status"] == "QUEUED"


async def test_a_claim_takes_no_more_than_the_slots_and_tells_all_of_them_in_one_outbox_row(
    connection: asyncpg.Connection, daemon: UUID
) -> None:
    for _ in range(7):
        await make_job(connection)

    claimed = await claim(connection, daemon, slots=5)

    (facts,) = await outbox_rows(connection)
    assert len(claimed.jobs) == 5
    assert {fact.job_id for fact in facts} == ids(claimed)
    assert claimed.committed is not None
    assert set(claimed.committed.facts) == set(facts)


async def test_classes_that_the_daemon_does_not_know_stay_queued_and_hold_nobody_up(
    connection: asyncpg.Connection, daemon: UUID
) -> None:
    unknown = [await make_job(connection, job_class="Unknown", priority=9) for _ in range(5)]
    known = await make_job(connection)

    claimed = await claim(connection, daemon, slots=1, skipped=["Unknown"])

    assert ids(claimed) == {known}
    assert {(await row_of(connection, job))["status"] for job in unknown} == {"QUEUED"}


async def test_a_tenant_that_has_only_unknown_classes_does_not_stand_before_the_others(
    connection: asyncpg.Connection, daemon: UUID
) -> None:
    await make_job(connection, tenant="acme", job_class="Unknown")
    known = await make_job(connection, tenant="bolt")

    claimed = await claim(connection, daemon, slots=1, skipped=["Unknown"])

    assert ids(claimed) == {known}


@pytest.mark.parametrize("paused", ["queue", "tenant"])
async def test_a_paused_queue_or_tenant_gives_nothing_until_it_is_resumed(
    connection: asyncpg.Connection, daemon: UUID, paused: str
) -> None:
    job_id = await make_job(connection)
    limits = Limits()
    pause = limits.set_queue if paused == "queue" else limits.set_tenant
    name = "default" if paused == "queue" else "acme"

    await pause(connection, name, paused=True)
    during = await claim(connection, daemon)
    await pause(connection, name, paused=False)
    afterwards = await claim(connection, daemon)

    assert during.jobs == ()
    assert ids(afterwards) == {job_id}


async def test_a_paused_tenant_leaves_its_slots_to_the_others(connection: asyncpg.Connection, daemon: UUID) -> None:
    await make_job(connection, tenant="acme")
    others = {await make_job(connection, tenant="bolt") for _ in range(3)}
    await Limits().set_tenant(connection, "acme", paused=True)

    claimed = await claim(connection, daemon, slots=3)

    assert ids(claimed) == others


async def test_a_claim_says_of_an_expired_job_that_it_is_too_late_to_start(
    connection: asyncpg.Connection, daemon: UUID
) -> None:
    late = await make_job(connection, expiration_date=LONG_GONE)
    in_time = await make_job(connection, expiration_date=datetime.now(UTC) + timedelta(hours=1))
    undated = await make_job(connection)

    claimed = await claim(connection, daemon)

    assert {job.card.job_id: job.expired for job in claimed.jobs} == {late: True, in_time: False, undated: False}


async def test_an_expired_job_that_the_upkeep_finds_first_is_never_claimed(
    connection: asyncpg.Connection, daemon: UUID
) -> None:
    late = await make_job(connection, expiration_date=LONG_GONE)
    await Upkeep(schema="jobservice", follower=SETTLER).expire(connection)

    claimed = await claim(connection, daemon)

    assert claimed.jobs == ()
    row = await row_of(connection, late)
    assert (row["status"], row["error_message"], row["run"]) == ("FAILED", "Expiration date reached", 0)


async def test_a_job_with_a_trigger_date_is_claimed_once_the_date_has_come_and_not_before(
    connection: asyncpg.Connection, daemon: UUID
) -> None:
    upkeep = Upkeep(schema="jobservice", follower=SETTLER)
    job_id = await make_job(
        connection, JobStatus.PENDING, held="trigger", trigger_after_date=datetime(2100, 1, 1, tzinfo=UTC)
    )
    early = (await upkeep.enqueue_due(connection), await claim(connection, daemon))

    await connection.execute("UPDATE jobservice.job_info SET trigger_after_date = clock_timestamp()")
    enqueued = await upkeep.enqueue_due(connection)
    claimed = await claim(connection, daemon)

    assert early == (0, Claim())
    assert enqueued == 1
    assert ids(claimed) == {job_id}


async def test_a_trigger_date_does_not_release_what_a_user_holds(connection: asyncpg.Connection) -> None:
    job_id = await make_job(connection, JobStatus.PENDING, held="user", trigger_after_date=LONG_GONE)

    enqueued = await Upkeep(schema="jobservice", follower=SETTLER).enqueue_due(connection)

    assert enqueued == 0
    assert (await row_of(connection, job_id))["status"] == "PENDING"


@pytest.mark.parametrize("held", ["trigger", "backoff", "stage"])
async def test_a_user_does_not_release_what_something_else_holds_and_is_told_what(
    connection: asyncpg.Connection, held: str
) -> None:
    job_id = await make_job(
        connection, JobStatus.PENDING, held=held, trigger_after_date=datetime(2100, 1, 1, tzinfo=UTC)
    )

    (result,) = await Commands().enqueue(connection, [job_id])

    assert (result.accepted, result.code, result.reason) == (False, "not_legal", f"held by its {held}")
    assert (await row_of(connection, job_id))["held"] == held


async def test_a_claim_of_another_queue_sees_nothing_of_this_one(connection: asyncpg.Connection) -> None:
    daemon = await make_daemon(connection, queues=("default", "other"))
    await make_job(connection, queue="default")

    claimed = await claim(connection, daemon, queue="other")

    assert claimed.jobs == ()


async def test_a_queue_without_a_row_is_an_error_not_an_empty_answer(
    connection: asyncpg.Connection, daemon: UUID
) -> None:
    with pytest.raises(asyncpg.NoDataFoundError, match="queue nowhere has no row"):
        await claim(connection, daemon, queue="nowhere")


@pytest.mark.parametrize("ended", ["lost_at", "stopped_at", "no row"])
async def test_a_daemon_that_is_not_alive_in_the_books_claims_nothing(
    connection: asyncpg.Connection, ended: str
) -> None:
    await make_queue(connection)
    daemon = uuid4() if ended == "no row" else await make_daemon(connection, ended=ended)
    job_id = await make_job(connection)

    with pytest.raises(asyncpg.ObjectNotInPrerequisiteStateError, match="not alive"):
        await claim(connection, daemon)

    assert (await row_of(connection, job_id))["status"] == "QUEUED"


async def test_rows_that_a_client_holds_are_left_out_of_the_choice_and_cost_no_slot(
    connection: asyncpg.Connection, connect: Any, daemon: UUID
) -> None:
    held = [await make_job(connection, priority=9) for _ in range(3)]
    free = {await make_job(connection) for _ in range(3)}
    client = await connect()

    async with client.transaction():
        await Commands().stop(client, held)
        claimed = await claim(connection, daemon, slots=3)

    assert ids(claimed) == free
    assert {(await row_of(connection, job))["status"] for job in held} == {"ABORTED"}


async def test_a_stop_that_waits_for_a_claim_marks_the_claimed_job(
    connection: asyncpg.Connection, connect: Any, daemon: UUID
) -> None:
    job_id = await make_job(connection)
    other, watcher = await connect(), await connect()
    claiming = connection.transaction()
    await claiming.start()
    await claim(connection, daemon)

    stop = await begun(Commands().stop(other, [job_id]), other, watcher)
    await claiming.commit()

    (result,) = await stop
    row = await row_of(connection, job_id)
    assert (result.accepted, result.status, row["status"]) == (True, "TO_BE_RUN", "TO_BE_RUN")
    assert row["stop_requested_at"] is not None


async def test_a_claim_says_to_look_back_where_something_may_have_been_published_before(
    connection: asyncpg.Connection, daemon: UUID
) -> None:
    await Submitter().submit(connection, '[{"job_class": "Nap"}]')
    fresh = await claim(connection, daemon)
    await make_job(connection, run=1, sequence=3)
    again = await claim(connection, daemon)

    assert fresh.committed is not None
    assert not fresh.committed.look_back
    assert again.committed is not None
    assert again.committed.look_back
