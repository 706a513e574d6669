"""The database connections of jobs with steps: some to read with, some to write with, made when first needed.

Two pools, since a run that writes may wait for one to read with. Named like the daemon's others, so that those of a
daemon that is lost are ended with them.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any
from uuid import UUID

import asyncpg

_SETTINGS = {
    "idle_in_transaction_session_timeout": "0",
    "lock_timeout": "60s",
    "synchronous_commit": "on",
    "jit": "off",
}


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
        """One of its own for as long as it is held. The driver's errors come out as they are."""
        pool = await self._pool("steps write")
        async with pool.acquire() as connection:
            yield connection

    @asynccontextmanager
    async def reading(self) -> AsyncIterator[Any]:
        """One in a transaction that only reads: cursors live as long as it is held."""
        pool = await self._pool("steps read")
        async with pool.acquire() as connection, connection.transaction(readonly=True):
            yield connection

    async def close(self) -> None:
        """Ends all, whatever they are doing."""
        for pool in self._pools.values():
            pool.terminate()
        self._pools.clear()

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
