"""The ticks of schedules of pipelines that wait for the pipeline of the one before: the table `waiting_tick`.

Called by whoever holds the rows of their schedules, in the transaction that decides about them.
"""

from collections.abc import Sequence
from itertools import groupby
from pathlib import Path
from typing import Any

import asyncpg

from jobservice.domain.schedules import BATCH, NOTHING_WAITS, Tick, Waiting
from jobservice.sdk.schedule import WaitingTick
from jobservice.store.sql import load

_FILE = Path(__file__).with_name("schedules.sql")

Key = tuple[str, str]
"""Tenant and name of a schedule."""


class WaitingTicks:
    """Those of one schema."""

    def __init__(self, *, schema: str) -> None:
        self._sql = load(_FILE, schema)

    async def read(self, connection: asyncpg.Connection, rows: Sequence[Any]) -> list[Waiting]:
        """What waits of each of these schedules."""
        found = [NOTHING_WAITS] * len(rows)
        some = [n for n, row in enumerate(rows) if row["waiting"] > 0]
        if not some:
            return found
        read = self._sql.waiting(
            connection, tenants=[rows[n]["tenant"] for n in some], names=[rows[n]["name"] for n in some], most=BATCH
        )
        ticks = [row async for row in read]
        for place, those in groupby(ticks, key=lambda row: row["n"]):
            group = list(those)
            oldest = tuple(Tick(row["fire_date"], row["key"]) for row in group)
            found[some[place - 1]] = Waiting(oldest, group[0]["count"])
        return found

    async def waits(self, connection: asyncpg.Connection, schedule: Key, key: str) -> bool:
        """Whether a tick of this key does."""
        tenant, name = schedule
        return await self._sql.waits(connection, tenant=tenant, schedule=name, key=key) is not None

    async def write(
        self,
        connection: asyncpg.Connection,
        *,
        schedules: Sequence[Key],
        begin: Sequence[tuple[Key, Tick]] = (),
        end: Sequence[tuple[Key, Tick]] = (),
    ) -> None:
        """Which ticks wait from now on and which no more; counts those of `schedules`, which are all of these."""
        if end:
            await self._sql.end_to_wait(connection, **_columns(end))
        if begin:
            await self._sql.begin_to_wait(connection, **_columns(begin), dates=[tick.date for _, tick in begin])
        if schedules:
            tenants, names = [tenant for tenant, _ in schedules], [name for _, name in schedules]
            await self._sql.count_waiting(connection, tenants=tenants, names=names)

    async def listed(self, connection: asyncpg.Connection, schedule: Key) -> list[WaitingTick]:
        """All of one schedule, in the order of their turns."""
        tenant, name = schedule
        rows = self._sql.waiting_ticks(connection, tenant=tenant, schedule=name)
        return [WaitingTick(row["fire_date"], row["since"]) async for row in rows]


def _columns(ticks: Sequence[tuple[Key, Tick]]) -> dict[str, list[str]]:
    return {
        "tenants": [tenant for (tenant, _), _ in ticks],
        "schedules": [name for (_, name), _ in ticks],
        "keys": [tick.key for _, tick in ticks],
    }
