"""What a queue publishes: all status changes, ends alone, or nothing; by whatever verb they come about."""

import time
from typing import Any
from uuid import UUID

import asyncpg
import pytest
from factory import SETTLER, held_run, make_daemon, make_job, make_queue, outbox_rows, row_of
from verbs import LEGAL, OUTCOMES, RUNNING, SUCCEEDED, Hands, Way, expected, given_job

from jobservice.domain.facts import EventMode, Fact, is_published
from jobservice.domain.outcomes import Failed, Retried
from jobservice.domain.states import FINAL, JobStatus
from jobservice.lifecycle.claim import Claim, Claimer
from jobservice.lifecycle.commands import Commands
from jobservice.lifecycle.limits import Limits
from jobservice.lifecycle.submission import Submitter
from jobservice.lifecycle.upkeep import Upkeep
from jobservice.store.daemons import Daemons

SPARING: list[EventMode] = ["final", "none"]


@pytest.fixture
async def hands(connection: asyncpg.Connection, daemon: UUID, writer_of: Any) -> Hands:
    return Hands(connection, daemon, writer_of)


def claimed_under(mode: EventMode, job_id: UUID, run: int) -> Any:
    """The run of a job that was claimed while its queue had this mode."""
    return held_run(job_id, run, started_at=time.monotonic(), events=mode)


async def written(connection: asyncpg.Connection) -> list[Fact]:
    return [fact for row in await outbox_rows(connection) for fact in row]


@pytest.mark.parametrize("mode", SPARING)
@pytest.mark.parametrize(("status", "way"), LEGAL, ids=str)
async def test_a_verb_writes_its_status_and_no_fact_that_the_mode_leaves_out(
    hands: Hands, status: JobStatus, way: Way, mode: EventMode
) -> None:
    await make_queue(hands.connection, events=mode)
    hands.mode = mode
    job_id, before = await given_job(hands, status, way)
    target = expected(status, way)
    assert target is not None

    await hands.do(way, job_id, before["run"])

    after = await row_of(hands.connection, job_id)
    changed = after["sequence"] > before["sequence"]
    assert after["status"] == target
    assert len(await written(hands.connection)) == (changed and is_published(mode, target))
    rows = await hands.connection.fetchval("SELECT count(*) FROM jobservice.outbox")
    assert rows == (changed and is_published(mode, target)), "no empty row either"


@pytest.mark.parametrize("mode", ["all", *SPARING])
async def test_what_memory_publishes_is_what_the_outbox_holds(
    connection: asyncpg.Connection, hands: Hands, mode: EventMode
) -> None:
    ended, retried, started = [await make_job(connection, JobStatus.TO_BE_RUN, daemon=hands.daemon) for _ in range(3)]

    hands.writer.finish(claimed_under(mode, ended, 1), OUTCOMES[SUCCEEDED])
    hands.writer.finish(claimed_under(mode, retried, 1), Retried(Failed("E", "no", None), 60.0))
    hands.writer.start(claimed_under(mode, started, 1))
    await hands.writer.run_once()

    told = {(fact.job_id, fact.status) for committed in hands.told.committed for fact in committed.facts}
    assert told == {(fact.job_id, fact.status) for fact in await written(connection)}
    assert (
        told
        == {
            "all": {
                (ended, RUNNING),
                (ended, SUCCEEDED),
                (retried, RUNNING),
                (retried, JobStatus.PENDING),
                (started, RUNNING),
            },
            "final": {(ended, SUCCEEDED)},
            "none": set(),
        }[mode]
    )


async def test_runs_of_queues_with_different_modes_share_a_flush(connection: asyncpg.Connection, hands: Hands) -> None:
    jobs = {mode: await make_job(connection, RUNNING, daemon=hands.daemon) for mode in ("all", "final", "none")}

    for mode, job_id in jobs.items():
        hands.writer.finish(claimed_under(mode, job_id, 1), OUTCOMES[SUCCEEDED])
    await hands.writer.run_once()

    assert len(hands.told.settled_runs) == 3
    assert {fact.job_id for fact in await written(connection)} == {jobs["all"], jobs["final"]}


async def claim(connection: asyncpg.Connection, daemon: UUID) -> Claim:
    claimer = Claimer(daemon_id=daemon, schema="jobservice", submissions_published=False)
    return await claimer.claim(connection, queue="default", slots=10, skipped_classes=(), charges={})


@pytest.mark.parametrize("mode", SPARING)
async def test_a_claim_brings_its_jobs_without_facts_and_with_the_mode_that_their_runs_keep(
    connection: asyncpg.Connection, daemon: UUID, mode: EventMode
) -> None:
    job_id = await make_job(connection)
    await Limits().set_queue(connection, "default", events=mode)

    claimed = await claim(connection, daemon)

    assert [(job.card.job_id, job.card.events) for job in claimed.jobs] == [(job_id, mode)]
    assert claimed.committed is None


async def test_a_change_is_obeyed_by_waiting_jobs_at_once_and_by_a_run_from_its_next_claim_on(
    connection: asyncpg.Connection, hands: Hands
) -> None:
    running, waiting = await make_job(connection, priority=1), await make_job(connection)
    await make_queue(connection, max_running=1)
    (run,) = (await claim(connection, hands.daemon)).jobs
    await connection.execute("DELETE FROM jobservice.outbox")

    await Limits().set_queue(connection, "default", events="none")
    await Commands().stop(connection, [waiting])
    hands.writer.finish(claimed_under(run.card.events, running, 1), OUTCOMES[SUCCEEDED])
    await hands.writer.run_once()

    assert [(fact.job_id, fact.status) for fact in await written(connection)] == [
        (running, RUNNING),
        (running, SUCCEEDED),
    ]


async def test_an_end_that_follows_an_unpublished_claim_looks_back_for_what_an_earlier_run_told(
    connection: asyncpg.Connection, hands: Hands
) -> None:
    first_life = await make_job(connection, RUNNING, daemon=hands.daemon)
    second_life = await make_job(connection, RUNNING, daemon=hands.daemon, sequence=7)

    looked_back = []
    for job_id in (first_life, second_life):
        hands.writer.finish(claimed_under("final", job_id, 1), OUTCOMES[SUCCEEDED])
        await hands.writer.run_once()
        looked_back.append(hands.told.committed[-1].look_back)

    assert looked_back == [False, True]


@pytest.mark.parametrize("mode", ["all", *SPARING])
async def test_submissions_that_are_published_follow_the_mode_of_their_own_queue(
    connection: asyncpg.Connection, mode: EventMode
) -> None:
    await connection.execute("INSERT INTO jobservice.setting VALUES ('events.submissions', 'true')")
    await make_queue(connection, events=mode)

    await Submitter().submit(connection, '[{"job_class": "Nap"}, {"job_class": "Nap", "queue": "new"}]')

    cards = await connection.fetch(
        "SELECT queue FROM jobservice.job_info j JOIN jobservice.outbox o ON j.id = ANY (o.job_ids)"
    )
    assert sorted(row["queue"] for row in cards) == (["default", "new"] if mode == "all" else ["new"])


@pytest.mark.parametrize("mode", ["all", *SPARING])
async def test_a_due_trigger_date_follows_the_mode_too(connection: asyncpg.Connection, mode: EventMode) -> None:
    await make_queue(connection, events=mode)
    long_ago = await connection.fetchval("SELECT now() - interval '1 hour'")
    await make_job(connection, JobStatus.PENDING, held="trigger", trigger_after_date=long_ago)

    enqueued = await Upkeep(schema="jobservice", follower=SETTLER).enqueue_due(connection)

    assert enqueued == 1
    assert len(await written(connection)) == (mode == "all")


@pytest.mark.parametrize("mode", ["all", *SPARING])
async def test_sql_and_python_agree_on_what_is_published(connection: asyncpg.Connection, mode: EventMode) -> None:
    by_sql = {
        status: await connection.fetchval("SELECT jobservice.is_published($1, $2)", mode, status.value)
        for status in JobStatus
    }

    assert by_sql == {status: is_published(mode, status) for status in JobStatus}
    assert {status for status, told in by_sql.items() if told} == {
        "all": set(JobStatus), "final": set(FINAL), "none": set()
    }[mode]  # fmt: skip


async def test_a_job_that_a_daemon_does_not_hold_is_handed_back_as_its_queue_publishes(
    connection: asyncpg.Connection, hands: Hands
) -> None:
    await make_daemon(connection)
    await make_queue(connection, events="none")
    await make_job(connection, RUNNING, daemon=hands.daemon)

    (live,) = await Daemons(schema="jobservice").live_jobs(connection, hands.daemon, held=(), full=False)

    assert live.card.events == "none"
