"""An installation of the demo's own on some servers: its schema, its prefix, its settings; made and removed."""

import asyncio
import contextlib
import json
import secrets
from collections.abc import AsyncIterator, Coroutine
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

import aiormq
import asyncpg

from jobservice.broker.names import BrokerNames
from jobservice.client.database import ClientDatabase
from jobservice.demo.plan import CAPACITY
from jobservice.store import schema as stored

_LOOK = 0.01


@dataclass(frozen=True)
class Installation:
    """Names that no other installation on the same servers has."""

    database_url: str
    amqp_url: str
    packages: tuple[str, ...]
    workspace: Path
    configuration: Path
    database_is_private: bool
    broker_is_private: bool
    """A private server goes as it is, with all that is on it."""
    word: str = field(default_factory=lambda: secrets.token_hex(4))

    @property
    def schema(self) -> str:
        """Where its tables are."""
        return f"jobservice_demo_{self.word}"

    @property
    def names(self) -> BrokerNames:
        """Its exchanges and queues."""
        return BrokerNames(f"jobservice-demo-{self.word}")

    def environment(self) -> dict[str, str]:
        """The daemon's settings. They name an empty configuration file: the user's own is not the demo's."""
        self.configuration.touch()
        return {
            "JOBSERVICE_CONFIG": str(self.configuration),
            "JOBSERVICE_DATABASE_URL": self.database_url,
            "JOBSERVICE_AMQP_URL": self.amqp_url,
            "JOBSERVICE_DATABASE__SCHEMA": self.schema,
            "JOBSERVICE_BROKER__PREFIX": self.names.prefix,
            "JOBSERVICE_JOBS__PACKAGES": json.dumps(self.packages),
            "JOBSERVICE_POOL__CAPACITY": str(CAPACITY),
            "JOBSERVICE_WORKSPACE__DIRECTORY": str(self.workspace),
            "JOBSERVICE_WORKSPACE__PAUSE_PERCENT": "0",  # its few kilobytes find room on any disk
            "JOBSERVICE_LOGS__FORMAT": "console",
        }

    @asynccontextmanager
    async def there(self) -> AsyncIterator[None]:
        """There inside the block; what is in the broker the daemon declares."""
        try:
            async with self._database() as connection:
                await stored.apply(connection, self.schema)
            yield
        finally:
            await _undisturbed(self._remove())

    async def now(self) -> datetime:
        """By the database's clock."""
        async with self._database() as connection:
            now: datetime = await connection.fetchval("SELECT clock_timestamp()")
        return now

    async def unpublished(self) -> int:
        """Rows of events that wait to be published, or were set aside."""
        async with self._database() as connection:
            return await self._unpublished(connection)

    async def all_published(self, within: float) -> None:
        """Return once there is no such row, or after `within` seconds all the same."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(within), self._database() as connection:
                while await self._unpublished(connection):  # noqa: ASYNC110 - tables tell nobody
                    await asyncio.sleep(_LOOK)

    async def _unpublished(self, connection: asyncpg.Connection) -> int:
        tables = ("outbox", "outbox_rejected", "pipeline_outbox", "pipeline_outbox_rejected")
        counts = " + ".join(f"(SELECT count(*) FROM {self.schema}.{table})" for table in tables)
        rows: int = await connection.fetchval(f"SELECT {counts}")
        return rows

    @asynccontextmanager
    async def _database(self) -> AsyncIterator[asyncpg.Connection]:
        database = ClientDatabase(url=self.database_url, statement_cache=True)
        try:
            async with database.use() as connection:
                yield connection
        finally:
            await database.close()

    async def _remove(self) -> None:
        try:
            if not self.database_is_private:
                async with self._database() as connection:
                    await connection.execute(f'DROP SCHEMA IF EXISTS "{self.schema}" CASCADE')
        finally:
            if not self.broker_is_private:
                await self._remove_from_broker()

    async def _remove_from_broker(self) -> None:
        connected = await aiormq.connect(self.amqp_url)
        try:
            channel = await connected.channel()
            for queue in (self.names.submissions, self.names.control, self.names.rejected):
                await channel.queue_delete(queue)
            for exchange in (self.names.events, self.names.pipelines, self.names.submit, self.names.command):
                await channel.exchange_delete(exchange)
        finally:
            await connected.close()


async def _undisturbed(removal: Coroutine[Any, Any, None]) -> None:
    """To its end, even where Ctrl-C cancels the caller meanwhile."""
    task = asyncio.create_task(removal)
    try:
        await asyncio.shield(task)
    except asyncio.CancelledError:
        await task
        raise
