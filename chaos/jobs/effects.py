"""Owns how a job writes its effect: again and again until the database has it, and never once its run is stale.

Jobs reach PostgreSQL by the straight way; only the daemons' own lines are cut and slowed.
"""

import asyncio
import os
import threading
import time
from uuid import UUID, uuid4

import asyncpg
import psycopg

URL = "CHAOS_DATABASE_URL"
"""The variable that holds the straight way."""
PAUSE = 0.1
PATIENCE = 60.0
"""Seconds of an absent database after which a job fails."""

_AWAY = (OSError, asyncpg.PostgresError, asyncpg.InterfaceError, asyncpg.InternalClientError, psycopg.Error)
_pools: dict[asyncio.AbstractEventLoop, asyncpg.Pool] = {}
_of_thread = threading.local()


class StaleRun(Exception):
    """The job belongs to another run, or has ended: what this run does has no effect any more."""


class Effect:
    """Of one run. `awrite` for jobs on the event loop, `write` for those on threads and in processes."""

    def __init__(self, job_id: UUID, run: int) -> None:
        self._row = (job_id, run, uuid4())
        self._who = f"run {run} of {job_id}"

    async def awrite(self, *, done: bool = False) -> None:
        """One step more. Raises StaleRun."""
        deadline = time.monotonic() + PATIENCE
        while True:
            try:
                pool = await _pool()
                accepted = await pool.fetchval("SELECT chaos.write($1, $2, $3, $4)", *self._row, done, timeout=10)
                break
            except _AWAY:
                if time.monotonic() > deadline:
                    raise
            await asyncio.sleep(PAUSE)
        if not accepted:
            raise StaleRun(self._who)

    def write(self, *, done: bool = False) -> None:
        """One step more. Raises StaleRun."""
        deadline = time.monotonic() + PATIENCE
        while True:
            try:
                row = _connection().execute("SELECT chaos.write(%s, %s, %s, %s)", (*self._row, done)).fetchone()
                break
            except _AWAY:
                _of_thread.connection = None
                if time.monotonic() > deadline:
                    raise
            time.sleep(PAUSE)
        if row is None or not row[0]:
            raise StaleRun(self._who)


async def _pool() -> asyncpg.Pool:
    loop = asyncio.get_running_loop()
    if loop not in _pools:
        # max_inactive: a lost connection is found out by its use, an idle one is not kept for long.
        _pools[loop] = asyncpg.create_pool(
            os.environ[URL],
            min_size=0,
            max_size=4,
            max_inactive_connection_lifetime=5,
            server_settings={"application_name": "chaos job"},
        )
    return await _pools[loop]


def _connection() -> psycopg.Connection[tuple[bool]]:
    known: psycopg.Connection[tuple[bool]] | None = getattr(_of_thread, "connection", None)
    if known is None or known.closed:
        known = psycopg.connect(os.environ[URL], autocommit=True, connect_timeout=5, application_name="chaos job")
        _of_thread.connection = known
    return known
