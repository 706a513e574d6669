"""Reads the installation: its daemons, tenants, queues, durable subscriptions and outbox. Writes subscriptions only.

Called by the client's operations and by `doctor`, with a connection of their own.
"""

import json
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, Literal
from uuid import UUID

import asyncpg

from jobservice.domain.facts import EventMode
from jobservice.domain.rates import Rate
from jobservice.store.sql import DEFAULT_SCHEMA, load

_FILE = Path(__file__).with_suffix(".sql")


@dataclass(frozen=True, slots=True, kw_only=True)
class DaemonRow:
    """One daemon; `silent_for` is the seconds since its last heartbeat."""

    id: UUID
    state: str
    host: str
    pid: int
    version: str
    queues: list[str]
    job_classes: list[str]
    withheld_classes: list[str]
    """Those that it does not claim now, since there is no room for their workspaces."""
    running: int
    stuck: int
    capacity: int
    http_url: str | None
    started_at: datetime
    lost_at: datetime | None
    stopped_at: datetime | None
    silent_for: float


@dataclass(frozen=True, slots=True, kw_only=True)
class TenantRow:
    """One tenant: what is set for it, and how many of its jobs wait and run. `known`: it has a row of its own."""

    tenant: str
    paused: bool
    max_running: int | None
    rate: str | None
    burst: int | None
    weight: float
    known: bool
    pending: int
    queued: int
    running: int


@dataclass(frozen=True, slots=True, kw_only=True)
class QueueRow:
    """One queue; `daemons` that live and serve it, `oldest_queued` in seconds."""

    queue: str
    paused: bool
    max_running: int | None
    rate: str | None
    burst: int | None
    events: EventMode
    aging: float | None
    """Seconds."""
    daemons: int
    pending: int
    queued: int
    running: int
    oldest_queued: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class TenantLimitRow:
    """What is set for a tenant on one queue, or for one of its concurrency keys. A key has no weight."""

    kind: Literal["queue", "key"]
    name: str
    max_running: int | None
    weight: float | None
    queued: int
    running: int


@dataclass(frozen=True, slots=True, kw_only=True)
class SubscriptionRow:
    """A durable subscription as it was declared."""

    name: str
    filter: dict[str, Any]
    created_date: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class OutboxState:
    """Facts that are not published yet: transactions, the oldest one's age in seconds, and rows set aside."""

    rows: int
    oldest: float | None
    rejected: int


class Overview:
    """The questions about an installation, for one schema."""

    def __init__(self, schema: str = DEFAULT_SCHEMA) -> None:
        self._sql = load(_FILE, schema)

    async def daemons(self, connection: asyncpg.Connection, *, ended: bool = False) -> list[DaemonRow]:
        """Living daemons, the oldest first; `ended` adds the lost and the stopped."""
        return [DaemonRow(**row) async for row in self._sql.daemons(connection, ended=ended)]

    async def tenants(self, connection: asyncpg.Connection) -> list[TenantRow]:
        """Tenants with settings, or with jobs that wait or run, by name."""
        return [TenantRow(**_rated(row)) async for row in self._sql.tenants(connection)]

    async def queues(self, connection: asyncpg.Connection) -> list[QueueRow]:
        """Queues with settings, a daemon, or jobs that wait or run, by name."""
        return [QueueRow(**_rated(row)) async for row in self._sql.queues(connection)]

    async def event_modes(self, connection: asyncpg.Connection) -> dict[str, EventMode]:
        """What each queue publishes that does not publish all."""
        return {row["queue"]: row["events"] async for row in self._sql.event_modes(connection)}

    async def tenant_limits(self, connection: asyncpg.Connection, tenant: str) -> list[TenantLimitRow]:
        """A tenant's limits and weights on queues, then its keys that are in use or have a limit: at most 1,000."""
        return [TenantLimitRow(**row) async for row in self._sql.tenant_limits(connection, tenant=tenant)]

    async def is_tenant(self, connection: asyncpg.Connection, tenant: str) -> bool:
        """Whether the tenant has settings or jobs."""
        return bool(await self._sql.is_tenant(connection, tenant=tenant))

    async def is_queue(self, connection: asyncpg.Connection, queue: str) -> bool:
        """Whether the queue has settings, a daemon or jobs."""
        return bool(await self._sql.is_queue(connection, queue=queue))

    async def live_of(self, connection: asyncpg.Connection, tenant: str) -> int:
        """How many jobs of a tenant are claimed or running."""
        return int(await self._sql.live_of(connection, tenant=tenant))

    async def subscriptions(self, connection: asyncpg.Connection) -> list[SubscriptionRow]:
        """Durable subscriptions, by name."""
        rows = [dict(row) async for row in self._sql.subscriptions(connection)]
        return [SubscriptionRow(**(row | {"filter": json.loads(row["filter"])})) for row in rows]

    async def remember_subscription(self, connection: asyncpg.Connection, name: str, wanted: dict[str, Any]) -> None:
        """Note a durable subscription; one that is noted stays as it is."""
        await self._sql.remember_subscription(connection, name=name, filter=json.dumps(wanted))

    async def forget_subscription(self, connection: asyncpg.Connection, name: str) -> None:
        """Take the note away."""
        await self._sql.forget_subscription(connection, name=name)

    async def outbox(self, connection: asyncpg.Connection) -> OutboxState:
        """How much waits to be published."""
        return OutboxState(**await self._sql.outbox(connection))


def _rated(row: asyncpg.Record) -> dict[str, Any]:
    """The row's columns, with the rate as it is written."""
    columns = dict(row)
    period, rate = columns.pop("rate_period"), columns["rate"]
    return columns | {"rate": None if rate is None else Rate(rate, period).written}
