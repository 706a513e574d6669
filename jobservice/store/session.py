"""One connection of the daemon, taken in turns and made anew after it was lost.

A daemon has at most four: claim and intake (which also listen), writer and heartbeat. Statements are never cut from
this side in the middle: the server's `statement_timeout` ends them; only a connection that is dead altogether is given
up, and then the rows are compared with memory (see `leases`).
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager

import asyncpg

from jobservice.domain.errors import UnavailableError
from jobservice.store.failures import CONNECTION_LOST, translated

STATEMENT_TIMEOUT_SECONDS = 30
GIVEN_UP_AFTER_SECONDS = 45.0
CONNECT_TIMEOUT_SECONDS = 10.0

_SETTINGS = {
    "statement_timeout": f"{STATEMENT_TIMEOUT_SECONDS}s",
    "lock_timeout": "5s",
    "idle_in_transaction_session_timeout": "20s",
    "synchronous_commit": "on",
    "timezone": "UTC",
    "jit": "off",
}

_CLOSING_FAILED: tuple[type[BaseException], ...] = (*CONNECTION_LOST, asyncpg.PostgresError)

PINNED_PLANS = {"plan_cache_mode": "force_generic_plan", "enable_seqscan": "off"}
"""For statements whose good plan is known and the same for all arguments: estimates of tables that fill and empty are
always wrong. One of them cost a flush of 1,000 runs a million comparisons, and each new plan costs milliseconds.

A plan that is made while a table is empty must be good, too. So rows that a query has found are joined to a large table
by `j.id = ANY (ARRAY[x.id])`: by `j.id = x.id` an index of the empty table could as well be read through, in order, and
each flush then read all jobs until the table was analysed again."""

OnConnect = Callable[[asyncpg.Connection], Awaitable[None]]


class Session:
    """`async with session.use() as connection`: exclusive, connected, errors translated."""

    def __init__(
        self,
        *,
        url: str,
        name: str,
        owner: object = "",
        on_connect: OnConnect | None = None,
        settings: Mapping[str, str] | None = None,
    ) -> None:
        """`name` and `owner` (the daemon's id) are how the server's statistics call it; `settings` are the server's."""
        self.name = name
        self._settings = {**_SETTINGS, **(settings or {})}
        self._application = f"jobservice {name} {owner}".rstrip()
        self.losses = 0
        """How often an established connection was lost; answers may have been lost with it."""
        self.trouble: str | None = None
        """Why the last attempt to connect failed; None once one succeeds."""
        self._url = url
        self._on_connect = on_connect
        self._lock = asyncio.Lock()
        self._connection: asyncpg.Connection | None = None

    @property
    def connected(self) -> bool:
        """Whether the connection stood when it was last looked at."""
        return self._connection is not None and not self._connection.is_closed()

    @asynccontextmanager
    async def use(self) -> AsyncIterator[asyncpg.Connection]:
        """Yields the connection; DatabaseUnavailable when there is none to be had or it breaks meanwhile."""
        async with self._lock:
            with translated():
                connection = await self._ensure()
                try:
                    yield connection
                except Exception as error:
                    if isinstance(error, CONNECTION_LOST) or connection.is_closed():
                        self._drop()
                    raise
                except BaseException:
                    self._drop()  # cancelled in the middle of a statement: its answer will never be read
                    raise

    async def close(self) -> None:
        """Ends the connection in good order."""
        connection, self._connection = self._connection, None
        if connection is not None and not connection.is_closed():
            try:
                await connection.close(timeout=2)
            except _CLOSING_FAILED:
                connection.terminate()

    async def _ensure(self) -> asyncpg.Connection:
        if self._connection is not None and self._connection.is_closed():
            self._drop()
        if self._connection is None:
            try:
                with translated():
                    self._connection = await self._connect()
            except UnavailableError as error:
                self.trouble = str(error)
                raise
            self.trouble = None
        return self._connection

    async def _connect(self) -> asyncpg.Connection:
        connection = await asyncpg.connect(
            self._url,
            timeout=CONNECT_TIMEOUT_SECONDS,
            command_timeout=GIVEN_UP_AFTER_SECONDS,
            server_settings={"application_name": self._application, **self._settings},
        )
        try:
            if self._on_connect is not None:
                await self._on_connect(connection)
        except BaseException:
            connection.terminate()
            raise
        return connection

    def _drop(self) -> None:
        if self._connection is not None:
            self._connection.terminate()
            self._connection = None
            self.losses += 1
