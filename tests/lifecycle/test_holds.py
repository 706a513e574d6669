"""Holds of job classes and pauses of pipelines: what they hold leaves the claimable index, and nothing stays behind."""

import itertools
from uuid import UUID

import asyncpg
import pytest
from databases import Connect
from factory import SETTLER, make_job, row_of
from holding import HOLDS, Hand
from races import begun

from jobservice.domain.errors import InvalidSubmission
from jobservice.domain.states import JobStatus
from jobservice.lifecycle.class_holds import ALL_CLASSES
from jobservice.lifecycle.commands import Commands
from jobservice.lifecycle.upkeep import Upkeep


async def test_a_held_class_starts_nothing_until_it_is_released_and_others_start(
    connection: asyncpg.Connection, hand: Hand
) -> None:
    held = [await make_job(connection, priority=9) for _ in range(3)]
    free = await make_job(connection, job_class="Other")

    await hand.hold()
    meanwhile = await hand.claim()
    await hand.release()
    afterwards = await hand.claim()

    assert meanwhile == [free]
    assert sorted(afterwards) == sorted(held)


async def test_what_was_put_aside_comes_back_to_its_place(connection: asyncpg.Connection, hand: Hand) -> None:
    first, second = await make_job(connection, priority=1), await make_job(connection)
    await hand.hold()
    await hand.claim()
    await hand.release()
    late = await make_job(connection)

    order = [await hand.claim(slots=1) for _ in range(3)]

    assert order == [[first], [second], [late]]


async def test_all_classes_are_held_with_a_star_and_nothing_is_put_aside_for_it(
    connection: asyncpg.Connection, hand: Hand
) -> None:
    jobs = {await make_job(connection, job_class=name) for name in ("Nap", "Other")}

    await hand.hold(ALL_CLASSES)
    meanwhile = await hand.claim()
    aside = await hand.put_aside()
    await hand.release(ALL_CLASSES)

    assert (meanwhile, aside) == ([], set())
    assert set(await hand.claim()) == jobs


async def test_a_class_is_held_once_with_the_first_reason_and_may_be_unknown(hand: Hand) -> None:
    answers = [await hand.hold("Unheard", "why"), await hand.hold("Unheard", "again")]

    held = await HOLDS.held(hand.connection)
    answers += [await hand.release("Unheard"), await hand.release("Unheard")]

    assert answers == [True, False, True, False]
    assert [(each.job_class, each.reason) for each in held] == [("Unheard", "why")]
    assert await HOLDS.held(hand.connection) == []


async def test_a_hold_that_waits_for_somebody_who_releases_the_class_holds_up_no_claim(
    connection: asyncpg.Connection, hand: Hand, connect: Connect
) -> None:
    other = await make_job(connection, job_class="Other")
    await hand.hold()
    releasing, holding = await connect(), await connect()
    await connection.execute("SET lock_timeout = '10s'")

    async with releasing.transaction():
        await HOLDS.release(releasing, "Nap")
        hold = await begun(HOLDS.hold(holding, "Nap", reason="again"), holding, connection)
        claimed = await hand.claim()
    held_anew = await hold

    assert (claimed, held_anew) == ([other], True)


@pytest.mark.parametrize("name", ["", "a b", "**", "x" * 65, "a.b"])
async def test_what_is_no_class_is_refused_by_both_doors(hand: Hand, name: str) -> None:
    with pytest.raises(InvalidSubmission):
        await hand.hold(name)
    with pytest.raises(asyncpg.InvalidParameterValueError):
        await hand.connection.execute("SELECT jobservice.hold_class($1)", name)


async def test_running_jobs_of_a_held_class_go_on(connection: asyncpg.Connection, hand: Hand) -> None:
    running = await make_job(connection, JobStatus.RUNNING)
    before = await row_of(connection, running)

    await hand.hold()
    await hand.claim()

    assert await row_of(connection, running) == before


REASONS = ("class", "pipeline", "key")


@pytest.mark.parametrize("order", list(itertools.permutations(REASONS)))
async def test_a_job_held_for_three_reasons_starts_when_the_last_has_gone_and_not_before(
    connection: asyncpg.Connection, hand: Hand, order: tuple[str, ...]
) -> None:
    runs = await make_job(connection, job_class="Other", concurrency_key="k")
    await hand.claim()
    pipeline = await hand.pipeline({"job_class": "Nap", "concurrency_key": "k"})
    (job,) = await hand.jobs_of(pipeline)
    await hand.hold()
    await hand.command("pause", pipeline)
    claimed = [await hand.claim()]

    for reason in order:
        assert claimed[-1] == []
        if reason == "class":
            await hand.release()
        elif reason == "pipeline":
            await hand.command("resume", pipeline)
        else:
            await connection.execute(
                "UPDATE jobservice.job_info SET status = 'ABORTED', stop_date = now() WHERE id = $1", runs
            )
        await hand.claimer.unblock(connection, [("acme", "k")])
        claimed.append(await hand.claim())

    assert claimed[-1] == [job]


async def test_a_held_job_at_the_head_of_its_key_does_not_keep_the_others_of_the_key_waiting(
    connection: asyncpg.Connection, hand: Hand
) -> None:
    runs = await make_job(connection, job_class="Other", concurrency_key="k", priority=9)
    heads = {await make_job(connection, concurrency_key="k") for _ in range(300)}
    following = await make_job(connection, job_class="Other", concurrency_key="k")
    await hand.claim(slots=1)
    await hand.claim()
    await hand.hold()
    await connection.execute("UPDATE jobservice.job_info SET status = 'ABORTED', stop_date = now() WHERE id = $1", runs)

    claimed: list[UUID] = []
    for _ in range(4):
        await hand.claimer.unblock(connection, [("acme", "k")])
        claimed += await hand.claim()

    assert claimed == [following]
    assert await hand.put_aside() == heads


async def test_upkeep_has_nothing_to_do_for_what_is_on_hold(connection: asyncpg.Connection, hand: Hand) -> None:
    await make_job(connection, concurrency_key="k")
    await hand.hold()
    await hand.claim()
    upkeep = Upkeep(schema="jobservice", follower=SETTLER)

    due = await upkeep.look(connection)

    assert len(await hand.put_aside()) == 1
    assert (due.blocked, await upkeep.blocked_keys(connection)) == (False, [])


@pytest.mark.parametrize("verb", ["stop", "expire", "update"])
async def test_what_is_on_hold_can_be_stopped_can_expire_and_can_be_changed(
    connection: asyncpg.Connection, hand: Hand, verb: str
) -> None:
    job = await make_job(connection)
    await hand.hold()
    await hand.claim()

    if verb == "stop":
        await Commands().stop(connection, [job])
    elif verb == "expire":
        await connection.execute("UPDATE jobservice.job_info SET expiration_date = now() - interval '1 second'")
        await Upkeep(schema="jobservice", follower=SETTLER).expire(connection)
    else:
        await Commands().update(connection, [job], priority=5)

    row = await row_of(connection, job)
    assert row["on_hold"] is (verb == "update")
    assert row["status"] == {"stop": "ABORTED", "expire": "FAILED", "update": "QUEUED"}[verb]


async def test_a_long_backlog_of_a_held_class_is_put_aside_over_a_few_claims_that_ask_to_be_called_again(
    connection: asyncpg.Connection, hand: Hand
) -> None:
    await connection.execute(
        """INSERT INTO jobservice.job_info (id, tenant, queue, job_class, status, priority, queued_date)
           SELECT jobservice.new_job_id(), 'acme', 'default', 'Nap', 'QUEUED', 9, now() FROM generate_series(1, 5000)"""
    )
    free = await make_job(connection, job_class="Other")
    await hand.hold()

    claims = []
    while not claims or claims[-1].again_in == 0:
        claims.append(await hand.claimer.claim(connection, queue="default", slots=10, skipped_classes=(), charges={}))

    assert [job.card.job_id for job in claims[-1].jobs] == [free]
    assert 2 <= len(claims) <= 6


async def rows_read(connection: asyncpg.Connection) -> int:
    """By scans of the jobs and their indexes, in this transaction so far."""
    read: int = await connection.fetchval(
        """SELECT sum(pg_stat_get_xact_tuples_returned(c.oid))::bigint
           FROM pg_class c LEFT JOIN pg_index i ON i.indexrelid = c.oid
           WHERE coalesce(i.indrelid, c.oid) = 'jobservice.job_info'::regclass"""
    )
    return read


@pytest.mark.parametrize("why", ["class", "pipeline"])
async def test_a_claim_reads_no_more_for_100_000_jobs_that_are_on_hold(
    connection: asyncpg.Connection, hand: Hand, why: str
) -> None:
    pipeline = await hand.pipeline({"job_class": "Held"})
    await (hand.hold("Held") if why == "class" else hand.command("pause", pipeline))
    await hand.claim()
    jobs = [await make_job(connection, tenant=f"t{n}", job_class="Other") for n in range(20)]
    await connection.execute(
        """INSERT INTO jobservice.job_info (id, tenant, queue, job_class, status, priority, queued_date, pipeline_id,
                                            blocked, on_hold)
           SELECT jobservice.new_job_id(), 't' || n % 20, 'default', 'Held', 'QUEUED', 9, now(), $1, true, true
           FROM generate_series(1, 100000) n""",
        pipeline if why == "pipeline" else None,
    )
    await connection.execute("VACUUM jobservice.job_info")  # what earlier tests deleted is still in the indexes
    transaction = connection.transaction()
    await transaction.start()
    before = await rows_read(connection)

    claimed = await hand.claim(slots=20)

    assert set(claimed) == set(jobs)
    assert await rows_read(connection) - before < 12 * 20 + 3 * 20 + 100
    await transaction.rollback()


async def test_a_paused_pipeline_starts_nothing_and_goes_on_where_it_was(
    connection: asyncpg.Connection, hand: Hand
) -> None:
    paused, goes = [await hand.pipeline(*[{"job_class": "Nap"}] * 3) for _ in range(2)]
    await hand.command("pause", paused)

    meanwhile = await hand.claim()
    await hand.command("resume", paused)

    assert set(meanwhile) == set(await hand.jobs_of(goes))
    assert set(await hand.claim()) == set(await hand.jobs_of(paused))


async def test_a_pipeline_resumes_more_jobs_than_one_call_moves(connection: asyncpg.Connection, hand: Hand) -> None:
    pipeline = await hand.pipeline(*[{"job_class": "Nap"}] * 1500)
    await hand.command("pause", pipeline)
    while len(await hand.put_aside()) < 1500:
        await hand.claim()

    await hand.command("resume", pipeline)
    left = len(await hand.put_aside())
    more = await SETTLER.settle_next(connection)

    assert (left, more, await hand.put_aside()) == (500, False, set())


async def test_a_resume_leaves_jobs_of_a_held_class_aside_and_is_done_with_them(
    connection: asyncpg.Connection, hand: Hand
) -> None:
    pipeline = await hand.pipeline({"job_class": "Nap"}, {"job_class": "Other"})
    nap, other = await hand.jobs_of(pipeline)
    await hand.hold()
    await hand.command("pause", pipeline)
    await hand.claim()

    await hand.command("resume", pipeline)

    assert await hand.claim() == [other]
    assert await hand.put_aside() == {nap}
    assert not await connection.fetchval("SELECT unsettled FROM jobservice.pipeline")
