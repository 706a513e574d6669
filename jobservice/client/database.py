"""The client's way to PostgreSQL: a few connections, made when first needed, without any session state.

It works through a transaction pooler: no LISTEN, no SET, no prepared statement that outlives its transaction where
`statement_cache` is off.
"""

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from typing import cast

import asyncpg

from jobservice.domain.errors import ConfigurationError, DatabaseUnavailable, InvalidSubmission
from jobservice.store.failures import describe, translated

_CONNECTIONS = 4
_CONNECT_TIMEOUT = 10.0
_ANSWER_TIMEOUT = 60.0
_STATEMENTS_CACHED = 100
_NOT_TAKEN = (asyncpg.DataError, asyncpg.CharacterNotInRepertoireError)
"""What an argument of the wrong type leads to in the driver, and a text with a NUL in the server."""


class ClientDatabase:
    """`async with database.use() as connection`: one connection, its errors translated."""

    def __init__(self, *, url: str, statement_cache: bool) -> None:
        self._url = url
        self._statement_cache = statement_cache
        self._pool: asyncpg.Pool | None = None
        self._opening = asyncio.Lock()

    @asynccontextmanager
    async def use(self, own: asyncpg.Connection | None = None) -> AsyncIterator[asyncpg.Connection]:
        """A connection, or the caller's `own`, inside whose transaction everything then happens.

        Raises DatabaseUnavailable, SchemaError, InvalidSubmission for what goes wrong inside.
        """
        with _told(), translated():
            if own is not None:
                yield own
                return
            pool = await self._opened()
            async with pool.acquire(timeout=_CONNECT_TIMEOUT) as proxy:
                # The proxy passes everything on to the connection that it stands for.
                connection = cast(asyncpg.Connection, proxy)
                if self._statement_cache:
                    yield connection
                    return
                # A pooler may give parse and execution of a statement to two servers, except in a transaction.
                async with connection.transaction():
                    yield connection

    async def close(self) -> None:
        """End the connections in good order."""
        pool, self._pool = self._pool, None
        if pool is not None:
            try:
                async with asyncio.timeout(5):
                    await pool.close()
            except TimeoutError:
                pool.terminate()

    async def _opened(self) -> asyncpg.Pool:
        async with self._opening:
            if self._pool is None:
                self._pool = await asyncpg.create_pool(
                    self._url,
                    min_size=0,
                    max_size=_CONNECTIONS,
                    timeout=_CONNECT_TIMEOUT,
                    command_timeout=_ANSWER_TIMEOUT,
                    server_settings={"application_name": "jobservice client"},
                    statement_cache_size=_STATEMENTS_CACHED if self._statement_cache else 0,
                )
            return self._pool


@contextmanager
def _told() -> Iterator[None]:
    """What waiting will not change: the login, the database's name, missing rights, arguments of a wrong type."""
    try:
        yield
    except asyncpg.InsufficientPrivilegeError as error:
        raise ConfigurationError(
            f"the database user of database_url lacks a right: {describe(error)}; ask for it to be granted"
        ) from error
    except (asyncpg.InvalidAuthorizationSpecificationError, asyncpg.InvalidCatalogNameError) as error:
        raise DatabaseUnavailable(f"PostgreSQL refuses the login: {describe(error)}") from error
    except asyncpg.ReadOnlySQLTransactionError as error:
        raise DatabaseUnavailable("this PostgreSQL is a read-only copy: name the primary in database_url") from error
    except asyncpg.DataError as error:
        if type(error) not in _NOT_TAKEN:
            raise
        raise InvalidSubmission(f"an argument has no form that PostgreSQL takes: {describe(error)}") from error
