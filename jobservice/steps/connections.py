"""The database connections of jobs with steps: some to read with, some to write with, made when first needed.

Two pools, since a run that writes may wait for one to read with. Named like the daemon's others, so that those of a
daemon that is lost are ended with them. Here alone is decided whether an error is the connection's or the user's own.
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any, TypeVar
from uuid import UUID

import asyncpg

from jobservice.domain.errors import DatabaseUnavailable, JobServiceError
from jobservice.store.failures import CONNECTION_LOST, describe

T = TypeVar("T")

RECONNECTS = 8
"""How often in a row something is begun anew after a lost connection, before the run fails: within about 20 s."""

_SERVER_GONE = (
    asyncpg.PostgresConnectionError,
    asyncpg.AdminShutdownError,
    asyncpg.CrashShutdownError,
    asyncpg.CannotConnectNowError,
    asyncpg.IdleInTransactionSessionTimeoutError,
)
"""The server says so itself, a moment before it closes the connection."""

_SETTINGS = {
    "idle_in_transaction_session_timeout": "0",
    "lock_timeout": "60s",
    "synchronous_commit": "on",
    "jit": "off",
}


class ConnectionGone(DatabaseUnavailable):
    """The connection was lost, and with it the answer: whether a commit came through, only the rows know."""


def is_lost(error: BaseException, connection: Any) -> bool:
    """Whether this error comes of the connection's end. A user's own OSError does not."""
    if isinstance(error, _SERVER_GONE):
        return True
    try:
        return bool(connection.is_closed())
    except asyncpg.InterfaceError:  # its pool has taken it back by itself, as it does with those that have ended
        return True


def pause_before(attempt: int) -> float:
    """Seconds until the next connection, after so many that were lost in a row."""
    return float(min(5.0, 0.1 * 2**attempt))


class StepConnections:
    """At most `size` to read with and `size` to write with."""

    def __init__(self, *, url: str, daemon_id: UUID, size: int) -> None:
        self._url = url
        self._daemon_id = daemon_id
        self._size = size
        self._pools: dict[str, asyncpg.Pool] = {}
        self._lock = asyncio.Lock()

    @asynccontextmanager
    async def writing(self) -> AsyncIterator[Any]:
        """One of its own for as long as it is held. Raises ConnectionGone."""
        async with self._held("steps write") as connection:
            yield connection

    @asynccontextmanager
    async def reading(self) -> AsyncIterator[Any]:
        """One in a transaction that only reads: cursors live as long as it is held. Raises ConnectionGone."""
        async with self._held("steps read") as connection, connection.transaction(readonly=True):
            yield connection

    async def settled(self, work: Callable[[Any], Awaitable[T]]) -> T:
        """The value of `work(connection)`, which does no harm when it is done twice: again after a lost connection."""
        lost = 0
        while True:
            try:
                async with self.writing() as connection:
                    return await work(connection)
            except ConnectionGone:
                lost += 1
                if lost > RECONNECTS:
                    raise
                await asyncio.sleep(pause_before(lost))

    async def close(self) -> None:
        """Ends all, whatever they are doing."""
        for pool in self._pools.values():
            pool.terminate()
        self._pools.clear()

    @asynccontextmanager
    async def _held(self, name: str) -> AsyncIterator[Any]:
        pool = await self._pool(name)
        try:
            connection = await pool.acquire()
        except CONNECTION_LOST as error:
            raise ConnectionGone(f"PostgreSQL cannot be reached: {describe(error)}") from error
        try:
            yield connection
        except JobServiceError:
            raise
        except Exception as error:
            if not is_lost(error, connection):
                raise
            raise ConnectionGone(f"the connection to PostgreSQL was lost: {describe(error)}") from error
        finally:
            await pool.release(connection)

    async def _pool(self, name: str) -> asyncpg.Pool:
        async with self._lock:
            if name not in self._pools:
                self._pools[name] = await asyncpg.create_pool(
                    self._url,
                    min_size=0,
                    max_size=self._size,
                    server_settings={"application_name": f"jobservice {name} {self._daemon_id}", **_SETTINGS},
                )
            return self._pools[name]
