"""What a frozen daemon holds on the server is let go when it is marked lost."""

from uuid import UUID

import asyncpg
from factory import SETTLER, make_daemon

from jobservice.lifecycle.rescue import Rescuer
from jobservice.store.outbox import Outbox
from jobservice.store.session import Session


async def holding(url: str, daemon: UUID) -> Session:
    """A session of this daemon that has taken the sweep, and says nothing more."""
    session = Session(url=url, name="intake", owner=daemon)
    async with session.use() as connection:
        assert await Outbox(schema="jobservice").try_sweep_lock(connection)
    return session


async def test_the_sessions_of_a_lost_daemon_are_ended_and_others_stay(
    connection: asyncpg.Connection, database_url: str
) -> None:
    frozen, living = await make_daemon(connection), await make_daemon(connection)
    held = await holding(database_url, frozen)
    other = Session(url=database_url, name="intake", owner=living)
    async with other.use() as session:
        before = await session.fetchval("SELECT pg_backend_pid()")

    assert await Rescuer(schema="jobservice", max_lost_runs=3, follower=SETTLER).mark_lost_and_rescue(
        connection, frozen, 0
    )

    async with other.use() as session:
        assert await session.fetchval("SELECT pg_backend_pid()") == before
        ended = False
        while not ended:  # a backend is told, and ends by itself
            ended = await Outbox(schema="jobservice").try_sweep_lock(session)
    assert ended
    await held.close()
    await other.close()


async def test_a_daemon_that_beat_in_between_keeps_its_sessions(
    connection: asyncpg.Connection, database_url: str
) -> None:
    living = await make_daemon(connection)
    held = await holding(database_url, living)
    await connection.execute("UPDATE jobservice.daemon SET counter = 5")

    assert not await Rescuer(schema="jobservice", max_lost_runs=3, follower=SETTLER).mark_lost_and_rescue(
        connection, living, 4
    )

    assert not await Outbox(schema="jobservice").try_sweep_lock(connection)
    async with held.use() as session:
        assert await session.fetchval("SELECT true")
    await held.close()
