"""One look a second at what has come due: it is done in that round, and who waits for it is told."""

from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import asyncpg
import pytest
from factory import LONG_AGO, SETTLER, make_daemon, make_job, row_of

from jobservice.domain.states import JobStatus
from jobservice.lifecycle.claim import Claimer
from jobservice.lifecycle.commands import Commands
from jobservice.lifecycle.limits import Limits
from jobservice.lifecycle.upkeep import BATCH, Upkeep
from jobservice.maintenance.due import INTERVAL, SOON, DueWork
from jobservice.schedules.firing import Firing
from jobservice.store.session import Session

PENDING = JobStatus.PENDING


class Round:
    """Due work on its own session, and how often it called."""

    def __init__(self, session: Session, **asking: Any) -> None:
        self.swept = 0
        self.queued = 0
        claimer = Claimer(daemon_id=UUID(int=1), schema="jobservice", submissions_published=False)
        self.work = DueWork(
            session=session,
            upkeep=Upkeep(schema="jobservice", follower=SETTLER),
            claimer=claimer,
            settler=SETTLER,
            firing=Firing(schema="jobservice"),
            sweep=self._sweep,
            queued=self._queue,
            **asking,
        )

    def _sweep(self) -> None:
        self.swept += 1

    def _queue(self) -> None:
        self.queued += 1


@pytest.fixture
def round_(session: Session) -> Round:
    return Round(session)


async def status_of(connection: asyncpg.Connection, job_id: UUID) -> str:
    return str((await row_of(connection, job_id))["status"])


async def test_with_nothing_due_it_does_nothing_and_looks_again_after_its_interval(
    connection: asyncpg.Connection, round_: Round
) -> None:
    waiting = await make_job(connection, PENDING, held="trigger", trigger_after_date=datetime(2100, 1, 1, tzinfo=UTC))

    pause = await round_.work.run_once()

    assert (pause, round_.swept, round_.queued) == (INTERVAL, 0, 0)
    assert await status_of(connection, waiting) == "PENDING"


async def test_what_may_be_claimed_in_the_queues_of_its_daemon_is_told_to_the_scheduler(
    connection: asyncpg.Connection, session: Session
) -> None:
    round_ = Round(session, queues=["other", "default"])

    told = []
    for job in ({"queue": "foreign"}, {"concurrency_key": "k", "blocked": True}, {"queue": "default"}):
        await make_job(connection, **job)
        round_.queued = 0
        await round_.work.run_once()
        told.append(round_.queued)

    assert told == [0, 0, 1]


async def test_it_asks_no_more_often_for_what_may_be_claimed_than_the_poll_says(
    connection: asyncpg.Connection, session: Session, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = 1_000.0
    monkeypatch.setattr("jobservice.maintenance.due.monotonic", lambda: now)
    seldom, often = (Round(session, queues=["default"], poll=poll) for poll in (10.0, 0.2))
    await make_job(connection)

    told = []
    for now in (1_000.0, 1_009.0, 1_010.0):  # noqa: B007 - the clock's
        waits = [await round_.work.run_once() for round_ in (seldom, often)]
        told.append((seldom.queued, often.queued))

    assert told == [(1, 1), (1, 2), (2, 3)]
    assert waits == [INTERVAL, 0.2]


@pytest.mark.parametrize("held", ["trigger", "backoff"])
async def test_a_trigger_date_that_has_come_queues_the_job_and_tells_the_scheduler_and_the_relay(
    connection: asyncpg.Connection, round_: Round, held: str
) -> None:
    due = await make_job(connection, PENDING, held=held, trigger_after_date=LONG_AGO)

    await round_.work.run_once()

    assert await status_of(connection, due) == "QUEUED"
    assert (round_.swept, round_.queued) == (1, 1)


async def test_the_next_look_comes_at_a_near_trigger_date_and_not_a_whole_interval_later(
    connection: asyncpg.Connection, round_: Round
) -> None:
    near = await connection.fetchval("SELECT clock_timestamp()") + timedelta(seconds=0.5 * INTERVAL)
    await make_job(connection, PENDING, held="trigger", trigger_after_date=near)

    pause = await round_.work.run_once()

    assert pause is not None
    assert 0 <= pause <= 0.5 * INTERVAL


async def test_a_due_job_whose_row_a_client_holds_is_looked_for_again_after_the_interval_not_at_once(
    connection: asyncpg.Connection, round_: Round
) -> None:
    due = await make_job(connection, PENDING, held="trigger", trigger_after_date=LONG_AGO)

    async with connection.transaction():
        await connection.execute("UPDATE jobservice.job_info SET locked = true")
        pause = await round_.work.run_once()
    await round_.work.run_once()

    assert (pause, round_.queued) == (INTERVAL, 1)
    assert await status_of(connection, due) == "QUEUED"


async def test_an_expired_job_fails_whether_it_waits_in_its_queue_or_is_held(
    connection: asyncpg.Connection, round_: Round
) -> None:
    late = [
        await make_job(connection, expiration_date=LONG_AGO),
        await make_job(connection, PENDING, expiration_date=LONG_AGO),
        await make_job(connection, PENDING, held="backoff", trigger_after_date=LONG_AGO, expiration_date=LONG_AGO),
    ]

    await round_.work.run_once()
    await round_.work.run_once()

    assert [await status_of(connection, job_id) for job_id in late] == ["FAILED"] * 3
    assert round_.swept >= 1


@pytest.mark.parametrize("status", [JobStatus.TO_BE_RUN, JobStatus.RUNNING])
async def test_a_run_that_has_begun_is_not_ended_by_its_expiration_date(
    connection: asyncpg.Connection, round_: Round, status: JobStatus
) -> None:
    begun = await make_job(connection, status, expiration_date=LONG_AGO)

    await round_.work.run_once()

    assert await status_of(connection, begun) == status


async def test_jobs_that_wait_for_a_free_key_are_let_in(connection: asyncpg.Connection, round_: Round) -> None:
    job_id = await make_job(connection, concurrency_key="k", blocked=True)

    await round_.work.run_once()

    assert not (await row_of(connection, job_id))["blocked"]


@pytest.mark.parametrize(
    ("owner", "swept"),
    [("nobody", 1), ("a living daemon", 0), ("a lost one", 1), ("a stopped one", 1), ("one without a row", 1)],
)
async def test_facts_that_nobody_living_publishes_are_told_to_the_relay(
    connection: asyncpg.Connection, round_: Round, owner: str, swept: int
) -> None:
    (_,) = await Commands().stop(connection, [await make_job(connection)])
    ended = {"a living daemon": None, "a lost one": "lost_at", "a stopped one": "stopped_at"}
    unknown = {"nobody": None, "one without a row": UUID(int=7)}
    daemon = unknown[owner] if owner in unknown else await make_daemon(connection, ended=ended[owner])
    await connection.execute("UPDATE jobservice.outbox SET daemon_id = $1", daemon)

    await round_.work.run_once()

    assert round_.swept == swept


async def test_a_step_of_aging_that_is_due_is_done_and_the_next_look_comes_at_the_next_one(
    connection: asyncpg.Connection, round_: Round
) -> None:
    low, _ = await make_job(connection, priority=1), await make_job(connection, priority=2)
    await Limits().set_queue(connection, "default", aging=3600.0)
    await connection.execute("UPDATE jobservice.aging SET period = 1.0, next_date = clock_timestamp()")

    pause = await round_.work.run_once()

    assert pause is not None
    assert pause <= INTERVAL
    assert (await row_of(connection, low))["priority"] == 2
    assert await connection.fetchval("SELECT next_date > clock_timestamp() - interval '1 minute' FROM jobservice.aging")


async def test_a_step_that_is_not_done_in_one_batch_goes_on_soon(connection: asyncpg.Connection, round_: Round) -> None:
    await connection.execute(
        """INSERT INTO jobservice.job_info (id, tenant, queue, job_class, status, queued_date, priority)
           SELECT gen_random_uuid(), 'acme', 'default', 'Nap', 'QUEUED', now(), n FROM generate_series(0, $1) n""",
        BATCH,
    )
    await Limits().set_queue(connection, "default", aging=3600.0)
    await connection.execute("UPDATE jobservice.aging SET next_date = clock_timestamp()")

    first, second = await round_.work.run_once(), await round_.work.run_once()
    while await connection.fetchval("SELECT begun_date IS NOT NULL FROM jobservice.aging"):
        await round_.work.run_once()

    assert (first, second) == (SOON, SOON)
    assert await connection.fetchval("SELECT array_agg(priority ORDER BY number) FROM jobservice.job_info") == [
        *range(1, BATCH + 1), BATCH,
    ]  # fmt: skip
