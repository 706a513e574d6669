"""The database connections of jobs with steps, made when first needed.

Four pools: chunks write with one for as long as their step lasts, and may wait for one to read with; tasks without a
transaction last as long as they like, and hold up no chunks; what is short, such as the begin and the end of a step,
waits for none of these. Named like the daemon's others, so that those of a daemon that is lost are ended with them.
Here alone is decided whether an error is the connection's or the user's own.
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from typing import Any, TypeVar
from uuid import UUID

import asyncpg
import structlog

from jobservice.domain.errors import DatabaseUnavailable, JobAborted, JobServiceError
from jobservice.store.failures import CONNECTION_LOST, describe

log = structlog.get_logger(__name__)

T = TypeVar("T")
Ending = Callable[[], str | None]
"""Why a run is to end now; None where it is not."""

ASK_SECONDS = 0.2
"""Between two questions whether the run of who waits for a connection is to end."""

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
    """At most `size` of each kind."""

    def __init__(self, *, url: str, daemon_id: UUID, size: int) -> None:
        self._url = url
        self._daemon_id = daemon_id
        self._size = size
        self._pools: dict[str, asyncpg.Pool] = {}
        self._lock = asyncio.Lock()

    @asynccontextmanager
    async def for_task(self, ending: Ending) -> AsyncIterator[Any]:
        """One of its own for as long as a user's function likes. Raises ConnectionGone, and JobAborted as it waits."""
        async with self._held("steps task", ending) as connection:
            yield connection

    @asynccontextmanager
    async def writing(self, ending: Ending) -> AsyncIterator[Any]:
        """One of its own for transactions, and to ask a step. Raises ConnectionGone, and JobAborted as it waits."""
        async with self._held("steps write", ending) as connection:
            yield connection

    @asynccontextmanager
    async def reading(self) -> AsyncIterator[Any]:
        """One in a transaction that only reads: cursors live as long as it is held. Raises ConnectionGone.

        Nobody waits for it who has one to write with, as there are as many.
        """
        async with self._held("steps read") as connection, connection.transaction(readonly=True):
            yield connection

    async def settled(self, work: Callable[[Any], Awaitable[T]]) -> T:
        """The value of `work(connection)`, which does no harm when it is done twice: again after a lost connection."""
        lost = 0
        while True:
            try:
                async with self._held("steps") as connection:
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
    async def _held(self, name: str, ending: Ending | None = None) -> AsyncIterator[Any]:
        pool = await self._pool(name)
        try:
            connection = await self._acquired(pool, name, ending)
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

    async def _acquired(self, pool: asyncpg.Pool, name: str, ending: Ending | None) -> Any:
        """Who has to wait for it is told, and asks meanwhile whether the run is to end."""
        if ending is None or pool.get_idle_size() > 0 or pool.get_size() < pool.get_max_size():
            return await pool.acquire()
        log.info("step.wait", reason=f"pool.step_connections = {self._size}: all are taken", kind=name)
        acquiring = asyncio.ensure_future(pool.acquire())
        try:
            while not (await asyncio.wait([acquiring], timeout=ASK_SECONDS))[0]:
                if (reason := ending()) is not None:
                    raise JobAborted(reason)
        except BaseException:
            acquiring.cancel()
            with suppress(asyncio.CancelledError, *CONNECTION_LOST):
                await pool.release(await acquiring)
            raise
        return acquiring.result()

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
