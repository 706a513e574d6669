"""The rows of concurrency keys: made when a job needs them, deleted when none does, and in nobody's way meanwhile."""

import asyncio
from typing import Any
from uuid import UUID

import asyncpg
import pytest
from factory import SETTLER, make_daemon, make_job, make_queue
from races import begun

import jobservice.lifecycle.upkeep as upkeep_module
import jobservice.maintenance.due as due_module
from jobservice.domain.states import JobStatus
from jobservice.lifecycle.claim import Claimer
from jobservice.lifecycle.commands import Commands
from jobservice.lifecycle.limits import Limits
from jobservice.lifecycle.submission import Submitter
from jobservice.lifecycle.upkeep import FIRST_KEY, Upkeep
from jobservice.maintenance.due import DueWork
from jobservice.schedules.firing import Firing
from jobservice.store.session import Session

KEY = ("acme", "k")
WAITS_LONG = (
    "SELECT bool_or(clock_timestamp() - waitstart > interval '50 ms') FROM pg_locks WHERE NOT granted AND pid = $1"
)


class Keeper:
    """A daemon of two queues that claims, and does what upkeep does for keys."""

    def __init__(self, connection: asyncpg.Connection, daemon: UUID) -> None:
        self.connection = connection
        self.claimer = Claimer(daemon_id=daemon, schema="jobservice", submissions_published=False)
        self.upkeep = Upkeep(schema="jobservice", follower=SETTLER)

    async def claim(self, queue: str = "default") -> list[UUID]:
        claim = await self.claimer.claim(self.connection, queue=queue, slots=10, skipped_classes=(), charges={})
        return [job.card.job_id for job in claim.jobs]

    async def end(self, job_id: UUID) -> None:
        await self.connection.execute(
            "UPDATE jobservice.job_info SET status = 'ABORTED', stop_date = now() WHERE id = $1", job_id
        )
        await self.claimer.unblock(self.connection, [KEY])

    async def look(self) -> None:
        await self.claimer.unblock(self.connection, await self.upkeep.blocked_keys(self.connection))

    async def keys(self) -> set[str]:
        rows = await self.connection.fetch("SELECT key FROM jobservice.concurrency_key")
        return {row["key"] for row in rows}


@pytest.fixture
async def keeper(connection: asyncpg.Connection) -> Keeper:
    return Keeper(connection, await make_daemon(connection, queues=("default", "other")))


@pytest.mark.parametrize("hindrance", ["paused", "full", "served by nobody"])
async def test_the_first_that_waits_for_a_key_in_a_queue_that_stands_still_holds_nobody_up_elsewhere(
    connection: asyncpg.Connection, keeper: Keeper, hindrance: str
) -> None:
    queue = "nobodys" if hindrance == "served by nobody" else "other"
    running = await make_job(connection, concurrency_key="k")
    await keeper.claim()
    heads = [await make_job(connection, concurrency_key="k", queue=queue, priority=9, blocked=True) for _ in range(3)]
    waiting = await make_job(connection, concurrency_key="k", blocked=True)
    await make_queue(connection, queue, paused=hindrance == "paused", max_running=0 if hindrance == "full" else None)

    await keeper.end(running)

    assert await keeper.claim() == [waiting]
    assert heads[0] not in await keeper.claim(queue if queue == "other" else "default")


async def test_who_comes_first_of_two_queues_gets_the_key_and_the_other_waits_outside_the_index_again(
    connection: asyncpg.Connection, keeper: Keeper
) -> None:
    running = await make_job(connection, concurrency_key="k")
    await keeper.claim()
    here, there = [await make_job(connection, concurrency_key="k", queue=q, blocked=True) for q in ("default", "other")]
    await keeper.end(running)

    claimed = await keeper.claim("other"), await keeper.claim("default")

    assert claimed == ([there], [])
    blocked = await connection.fetch("SELECT id FROM jobservice.job_info WHERE blocked")
    assert [row["id"] for row in blocked] == [here]


async def test_a_look_at_a_key_lets_no_more_in_than_before(connection: asyncpg.Connection, keeper: Keeper) -> None:
    for _ in range(5):
        await make_job(connection, concurrency_key="k", blocked=True)

    for _ in range(3):
        await keeper.look()

    assert await connection.fetchval("SELECT count(*) FROM jobservice.job_info WHERE NOT blocked") == 1


NEEDED = {
    "waits": (JobStatus.QUEUED, {}, True),
    "waits outside the index": (JobStatus.QUEUED, {"blocked": True}, True),
    "prepared": (JobStatus.TO_BE_RUN, {}, True),
    "runs": (JobStatus.RUNNING, {}, True),
    "held": (JobStatus.PENDING, {}, False),
    "ended": (JobStatus.ABORTED, {}, False),
}


@pytest.mark.parametrize("life", NEEDED)
async def test_a_key_is_forgotten_when_no_job_waits_for_it_or_holds_it(
    connection: asyncpg.Connection, keeper: Keeper, life: str
) -> None:
    status, columns, needed = NEEDED[life]
    await make_job(connection, status, concurrency_key="k", **columns)

    await keeper.upkeep.forget_keys(connection)

    assert await keeper.keys() == ({"k"} if needed else set())


async def test_a_key_with_a_limit_of_its_own_is_never_forgotten(connection: asyncpg.Connection, keeper: Keeper) -> None:
    for key, limit in (("one", 1), ("two", 2), ("none", 0)):
        await Limits().set_key(connection, "acme", key, max_running=limit)

    gone, _ = await keeper.upkeep.forget_keys(connection)

    assert gone == 1
    assert await keeper.keys() == {"two", "none"}


async def test_a_key_that_a_claim_holds_is_left_alone_and_not_waited_for(
    connection: asyncpg.Connection, connect: Any, keeper: Keeper
) -> None:
    await make_job(connection, JobStatus.ABORTED, concurrency_key="k")
    other = await connect()

    async with other.transaction():
        await other.execute("SELECT FROM jobservice.concurrency_key FOR NO KEY UPDATE")
        during = await keeper.upkeep.forget_keys(connection)
    afterwards = await keeper.upkeep.forget_keys(connection)

    assert (during[0], afterwards[0]) == (0, 1)


async def test_batches_go_on_where_the_last_one_stopped_and_begin_anew_at_the_end(
    connection: asyncpg.Connection, keeper: Keeper, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(upkeep_module, "BATCH", 2)
    for key in "abcde":
        await make_job(connection, concurrency_key=key, blocked=True)
        await connection.execute("INSERT INTO jobservice.concurrency_key VALUES ('bolt', $1)", key)

    blocked, forgotten, after_blocked, after_all = [], [], FIRST_KEY, FIRST_KEY
    for _ in range(6):
        keys = await keeper.upkeep.blocked_keys(connection, after=after_blocked)
        blocked.append([key for _, key in keys])
        after_blocked = keys[-1] if len(keys) == 2 else FIRST_KEY
        gone, after_all = await keeper.upkeep.forget_keys(connection, after=after_all)
        forgotten.append(gone)

    assert blocked == [["a", "b"], ["c", "d"], ["e"], ["a", "b"], ["c", "d"], ["e"]]
    assert forgotten == [0, 0, 1, 2, 2, 0]
    assert after_all == FIRST_KEY


async def test_the_upkeep_of_a_daemon_comes_to_every_blocked_key_in_turn(
    connection: asyncpg.Connection, keeper: Keeper, database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for module in (upkeep_module, due_module):
        monkeypatch.setattr(module, "BATCH", 2)
    for n, key in enumerate("abcde"):
        # Those of the first keys go on waiting: their keys are held.
        if n < 4:
            await make_job(connection, JobStatus.RUNNING, concurrency_key=key)
        await make_job(connection, concurrency_key=key, blocked=True)
    session = Session(url=database_url, name="intake")
    due = DueWork(
        session=session,
        upkeep=keeper.upkeep,
        claimer=keeper.claimer,
        settler=SETTLER,
        firing=Firing(schema="jobservice"),
        sweep=lambda: None,
        queued=lambda: None,
    )

    for _ in range(3):
        await due.run_once()
    await session.close()

    free = await connection.fetch(
        "SELECT concurrency_key AS key FROM jobservice.job_info WHERE status = 'QUEUED' AND NOT blocked"
    )
    assert [row["key"] for row in free] == ["e"]


async def test_a_job_whose_key_was_forgotten_meanwhile_is_put_aside_and_runs_after_the_next_look(
    connection: asyncpg.Connection, keeper: Keeper
) -> None:
    first, second = [await make_job(connection, concurrency_key="k") for _ in range(2)]
    free = await make_job(connection)
    await connection.execute("DELETE FROM jobservice.concurrency_key")

    during = await keeper.claim()
    await keeper.look()
    afterwards = await keeper.claim()

    assert (during, afterwards) == ([free], [first])
    assert await keeper.keys() == {"k"}
    await keeper.end(first)
    assert await keeper.claim() == [second]


@pytest.mark.parametrize("way", ["submit", "enqueue", "restart", "due"])
async def test_whatever_queues_a_job_makes_its_key_again(
    connection: asyncpg.Connection, keeper: Keeper, way: str
) -> None:
    long_ago = await connection.fetchval("SELECT now() - interval '1 hour'")
    held = {"held": "trigger", "trigger_after_date": long_ago} if way == "due" else {}
    status = JobStatus.ABORTED if way == "restart" else JobStatus.PENDING
    job_id = await make_job(connection, status, concurrency_key="k", **held)
    await keeper.upkeep.forget_keys(connection)

    match way:
        case "submit":
            ((job_id, _),) = await Submitter().submit(
                connection, '[{"job_class": "Nap", "concurrency_key": "k", "tenant": "acme"}]'
            )
        case "due":
            await keeper.upkeep.enqueue_due(connection)
        case _:
            await getattr(Commands(), way)(connection, [job_id])

    assert await keeper.claim() == [job_id]


@pytest.mark.parametrize("way", ["submit", "enqueue", "restart", "due"])
async def test_whatever_queues_a_job_waits_for_no_client_that_makes_the_same_key_and_takes_his_time(
    connection: asyncpg.Connection, connect: Any, keeper: Keeper, way: str
) -> None:
    long_ago = await connection.fetchval("SELECT now() - interval '1 hour'")
    held = {"held": "trigger", "trigger_after_date": long_ago} if way == "due" else {}
    status = JobStatus.ABORTED if way == "restart" else JobStatus.PENDING
    job_id = await make_job(connection, status, concurrency_key="k", **held)
    beside = await make_job(connection, concurrency_key="beside", blocked=True)
    await connection.execute("DELETE FROM jobservice.concurrency_key")
    await connection.execute("SET lock_timeout = '10s'")
    client = await connect()

    async with client.transaction():
        await client.execute("INSERT INTO jobservice.concurrency_key (tenant, key) VALUES ('acme', 'k')")
        match way:
            case "submit":
                ((job_id, _),) = await Submitter().submit(
                    connection, '[{"job_class": "Nap", "concurrency_key": "k", "tenant": "acme"}]'
                )
            case "due":
                assert await keeper.upkeep.enqueue_due(connection) == 1
            case _:
                await getattr(Commands(), way)(connection, [job_id])
        during = await keeper.claim()
        await keeper.claimer.unblock(connection, [("acme", "beside"), ("acme", "k")])
        during += await keeper.claim()
    await keeper.look()

    assert during == [beside]
    assert await keeper.claim() == [job_id]


async def test_a_submission_waits_for_who_has_locked_the_table_of_keys_as_a_whole(
    connection: asyncpg.Connection, connect: Any, keeper: Keeper
) -> None:
    client, job = await connect(), '{"job_class": "Nap", "concurrency_key": "k", "tenant": "acme"}'

    async with connection.transaction():  # as a change of the schema does, and now and then autovacuum
        await connection.execute("LOCK jobservice.concurrency_key IN ACCESS EXCLUSIVE MODE")
        submitting = await begun(Submitter().submit(client, job), client, connection)
        async with asyncio.timeout(60):
            while not await connection.fetchval(WAITS_LONG, client.get_server_pid()):
                assert not submitting.done()
    ((job_id, _),) = await submitting

    assert await client.fetchval("SHOW lock_timeout") == "0"
    assert await keeper.claim() == [job_id]


async def test_a_limit_that_is_raised_lets_those_in_that_wait_for_it_at_once(
    connection: asyncpg.Connection, keeper: Keeper
) -> None:
    for _ in range(4):
        await make_job(connection, concurrency_key="k")
    before = await keeper.claim()

    await Limits().set_key(connection, "acme", "k", max_running=3)
    raised = await keeper.claim()
    await Limits().set_key(connection, "acme", "k", max_running=0)
    await keeper.end(before[0])
    closed = await keeper.claim()

    assert (len(before), len(raised), len(closed)) == (1, 2, 0)
