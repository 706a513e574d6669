"""Who holds a pipeline's row, or a job's, holds up what belongs to it and nothing else; and nobody deadlocks."""

import asyncio
import json
from typing import Any

import asyncpg
import pytest
from crew import Crew
from factory import SETTLER, make_job, row_of
from pipe_books import check_books, command, jobs, pipeline, stages, standing, submit
from races import begun

from jobservice.domain.outcomes import Succeeded
from jobservice.lifecycle import flushing
from jobservice.lifecycle.rescue import Rescuer
from jobservice.lifecycle.upkeep import Upkeep

HOLD = "SELECT FROM jobservice.pipeline WHERE id = $1 FOR NO KEY UPDATE"


async def test_a_pipeline_that_a_client_holds_holds_up_its_own_runs_only(
    crew: Crew, connection: asyncpg.Connection
) -> None:
    held, free = await submit(connection, 1), await submit(connection, 1)
    alone = await make_job(connection)
    runs = await crew.claim()

    async with connection.transaction():
        await connection.execute(HOLD, held)
        await crew.end(runs)
        assert await standing(crew.connection, held) == ("QUEUED", ["QUEUED"])
        assert await standing(crew.connection, free) == ("SUCCEEDED", ["SUCCEEDED"])
        assert (await row_of(crew.connection, alone))["status"] == "SUCCEEDED"
        assert await crew.writer.run_once() > 0, "it looks again soon"
        assert crew.writer.waiting == 1
    await crew.writer.run_once()

    assert await standing(connection, held) == ("SUCCEEDED", ["SUCCEEDED"])
    assert crew.writer.waiting == 0
    assert crew.told.stale_runs == []


async def test_expiry_and_rescue_pass_by_the_jobs_of_a_pipeline_that_a_client_holds(
    crew: Crew, connection: asyncpg.Connection
) -> None:
    held, free = await submit(connection, 2), await submit(connection, 2)
    await crew.claim(2)
    await connection.execute(
        "UPDATE jobservice.job_info SET expiration_date = now() - interval '1 second' WHERE status = 'QUEUED'"
    )
    await connection.execute("UPDATE jobservice.job_info SET stop_requested_at = now() WHERE status = 'TO_BE_RUN'")
    await connection.execute("UPDATE jobservice.daemon SET lost_at = now()")
    rescuer = Rescuer(schema="jobservice", max_lost_runs=3, follower=SETTLER)
    upkeep = Upkeep(schema="jobservice", follower=SETTLER)
    hands = crew.connection

    async with connection.transaction():
        await connection.execute(HOLD, held)
        for _ in range(2):
            await rescuer.rescue(hands)
            await upkeep.expire(hands)
        left = await hands.fetch("SELECT DISTINCT pipeline_id FROM jobservice.job_info WHERE stop_date IS NULL")
        assert [row["pipeline_id"] for row in left] == [held]
    await rescuer.rescue(hands)
    await upkeep.expire(hands)

    assert await standing(hands, free) == await standing(hands, held) == ("FAILED", ["FAILED"])
    await check_books(connection)


async def test_a_flush_takes_its_pipelines_in_order_whatever_its_jobs_ask_of_their_stages(
    crew: Crew, connection: asyncpg.Connection, connect: Any
) -> None:
    low, high = sorted([await submit(connection, 1), await submit(connection, 1)])
    client = await connect()
    runs = {run.card.pipeline_id: run for run in await crew.claim()}
    (stage,) = await stages(connection, high)
    asks = json.dumps([{"stage_id": str(stage["id"]), "increment": "n", "by": 1}])

    crew.writer.finish(runs[high], Succeeded(stage_changes=asks))
    crew.writer.finish(runs[low], Succeeded())
    async with client.transaction():
        await client.execute(HOLD, low)
        async with crew.session.use() as writing:
            ...
        flush = await begun(crew.writer.run_once(), writing, connection)
        async with asyncio.timeout(30):
            await client.execute(HOLD, high)
    await flush
    await crew.writer.run_once()

    assert await standing(connection, low) == await standing(connection, high) == ("SUCCEEDED", ["SUCCEEDED"])
    assert json.loads((await stages(connection, high))[0]["user_metadata"]) == {"n": 1}


async def test_a_pause_that_waits_for_its_pipeline_holds_up_no_claim(
    crew: Crew, connection: asyncpg.Connection, connect: Any
) -> None:
    held = await submit(connection, {"jobs": jobs(1), "hold": True})
    alone = await make_job(connection)
    client = await connect()
    await crew.connection.execute("SET lock_timeout = '10s'")

    async with connection.transaction():
        await connection.execute(HOLD, held)
        pause = await begun(command(client, "pause", held), client, connection)
        runs = await crew.claim()
    await pause

    assert [run.job_id for run in runs] == [alone]
    assert (await pipeline(connection, held))["paused"]


async def test_a_concurrency_key_that_a_client_is_about_to_make_holds_up_no_stage(
    crew: Crew, connection: asyncpg.Connection
) -> None:
    keyed, free = await submit(connection, 1, {"jobs": jobs(1, concurrency_key="k")}), await submit(connection, 1)
    await connection.execute("DELETE FROM jobservice.concurrency_key")  # nobody needed it until the stage opens
    runs = await crew.claim()

    async with connection.transaction():
        await connection.execute("INSERT INTO jobservice.concurrency_key (tenant, key) VALUES ('default', 'k')")
        await crew.end(runs)
        assert await standing(crew.connection, keyed) == ("RUNNING", ["SUCCEEDED", "QUEUED"])
        assert await standing(crew.connection, free) == ("SUCCEEDED", ["SUCCEEDED"])
        assert await crew.claim() == [], "what the key allows nobody knows yet"
    await crew.claimer.unblock(crew.connection, [("default", "k")])

    assert await crew.work_all() == 1
    assert await standing(connection, keyed) == ("SUCCEEDED", ["SUCCEEDED"] * 2)


@pytest.mark.parametrize("wish", ["submit_next", "add_jobs"])
async def test_a_job_that_a_client_submits_under_the_same_key_just_now_holds_up_that_run_only(
    crew: Crew, connection: asyncpg.Connection, monkeypatch: pytest.MonkeyPatch, wish: str
) -> None:
    monkeypatch.setattr(flushing, "WAITS_AGAIN_AFTER", 1.5)
    p, free = await submit(connection, {"jobs": jobs(1), "open": True}), await submit(connection, 1)
    (stage,) = await stages(connection, p)
    asking, plain = sorted(await crew.claim(), key=lambda run: run.card.pipeline_id != p)
    (job,) = jobs(1, idempotency_key="k")
    added = [{"pipeline_id": str(p), "stage_id": str(stage["id"]), "jobs": [job]}]
    asks = Succeeded(next_jobs=json.dumps(job)) if wish == "submit_next" else Succeeded(stage_changes=json.dumps(added))

    async with connection.transaction():
        theirs = await connection.fetchval("SELECT job_id FROM jobservice.submit($1::text::jsonb)", json.dumps(job))
        crew.writer.finish(asking, asks)
        crew.writer.finish(plain, Succeeded())
        await crew.writer.run_once()
        assert await standing(crew.connection, free) == ("SUCCEEDED", ["SUCCEEDED"])
        assert (await row_of(crew.connection, asking.job_id))["status"] == "TO_BE_RUN"
        late = await submit(crew.connection, 1)
        await crew.work()
        assert await standing(crew.connection, late) == ("SUCCEEDED", ["SUCCEEDED"])
    async with asyncio.timeout(30):
        await crew.written()

    assert (await row_of(connection, asking.job_id))["status"] == "SUCCEEDED"
    key = await connection.fetchrow("SELECT job_id FROM jobservice.idempotency_key")
    assert key["job_id"] == theirs
    assert crew.told.stale_runs == []


@pytest.mark.parametrize("verb", ["restart", "delete"])
async def test_a_verb_that_needs_all_jobs_is_refused_while_somebody_holds_one(
    crew: Crew, connection: asyncpg.Connection, verb: str
) -> None:
    p = await submit(connection, 3)
    await command(connection, "stop", p)
    await connection.execute("DELETE FROM jobservice.outbox")

    async with connection.transaction():
        await connection.execute("SELECT FROM jobservice.job_info LIMIT 1 FOR UPDATE")
        refused = await command(crew.connection, verb, p)
        assert await standing(crew.connection, p) == ("ABORTED", ["ABORTED"])
    accepted = await command(crew.connection, verb, p)

    assert (refused["accepted"], refused["status"], refused["code"]) == (False, "ABORTED", "not_legal")
    assert refused["reason"] == "somebody holds one of its jobs; try again"
    assert accepted["accepted"]


async def test_a_restart_lets_go_of_expiration_dates_that_have_passed(
    crew: Crew, connection: asyncpg.Connection
) -> None:
    p = await submit(connection, {"jobs": jobs(1, expiration_date="2100-01-01T00:00:00Z") + jobs(1)})
    await connection.execute(
        "UPDATE jobservice.job_info SET expiration_date = now() - interval '1 second' WHERE expiration_date IS NULL"
    )
    await crew.go_on()
    await crew.work_all()
    assert await standing(connection, p) == ("FAILED", ["FAILED"])

    await command(connection, "restart", p)

    assert await crew.work_all() == 1
    assert await standing(connection, p) == ("SUCCEEDED", ["SUCCEEDED"])
    kept = "SELECT count(*) FROM jobservice.job_info WHERE expiration_date > now()"
    assert await connection.fetchval(kept) == 1
