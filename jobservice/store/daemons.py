"""The daemons' rows: registration, heartbeat, and what the rows say of a daemon's jobs."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from uuid import UUID

import asyncpg

from jobservice.domain.facts import JobCard
from jobservice.store.cards import card_of
from jobservice.store.sql import load

_FILE = Path(__file__).with_name("daemons.sql")


@dataclass(frozen=True, slots=True)
class DaemonRow:
    """What a daemon says of itself at boot."""

    id: UUID
    host: str
    pid: int
    version: str
    queues: tuple[str, ...]
    job_classes: tuple[str, ...]
    capacity: int
    http_url: str


@dataclass(frozen=True, slots=True)
class LiveJob:
    """A live job as its row says. `stop_reason`: somebody asked to stop it; `not_now`: why it is not to be started."""

    card: JobCard
    run: int
    stop_reason: str | None
    not_now: str | None = None


@dataclass(frozen=True, slots=True)
class Others:
    """The heartbeat counters of all other living daemons, and whether live jobs belong to one that is not alive."""

    counters: Mapping[UUID, int]
    orphans: bool


class Daemons:
    """The table of daemons of one schema. The caller brings the connection."""

    def __init__(self, *, schema: str) -> None:
        self._sql = load(_FILE, schema)

    async def register(self, connection: asyncpg.Connection, row: DaemonRow, settings: Mapping[str, str]) -> None:
        """Boot: the daemon's row, its queues' rows, and the settings (JSON texts) that SQL functions read."""
        async with connection.transaction():
            await self._sql.make_queues(connection, queues=sorted(row.queues))
            await self._sql.publish_settings(connection, names=list(settings), settings=list(settings.values()))
            await self._sql.register(
                connection,
                id=row.id,
                host=row.host,
                pid=row.pid,
                version=row.version,
                queues=list(row.queues),
                job_classes=list(row.job_classes),
                capacity=row.capacity,
                http_url=row.http_url,
            )

    async def beat(
        self,
        connection: asyncpg.Connection,
        daemon_id: UUID,
        *,
        running: int,
        stuck: int,
        draining: bool,
        withheld: Sequence[str],
    ) -> bool:
        """One heartbeat; False when the row says that this daemon is not alive any more."""
        beaten = await self._sql.beat(
            connection, id=daemon_id, running=running, stuck=stuck, draining=draining, withheld=list(withheld)
        )
        return beaten is not None

    async def set_idle(self, connection: asyncpg.Connection, daemon_id: UUID, idle: bool) -> None:
        """While a daemon is idle, submitters notify."""
        await self._sql.set_idle(connection, id=daemon_id, idle=idle)

    async def leave(self, connection: asyncpg.Connection, daemon_id: UUID) -> None:
        """The end in good order."""
        await self._sql.leave(connection, id=daemon_id)

    async def others(self, connection: asyncpg.Connection, daemon_id: UUID, *, full: bool) -> Others:
        """What there is to watch, in one query; not `full`: of the live jobs those that the claims' books know."""
        counters: dict[UUID, int] = {}
        orphans = False
        async for row in self._sql.others(connection, id=daemon_id, full=full):
            if row["id"] is None:
                orphans = row["orphans"]
            else:
                counters[row["id"]] = row["counter"]
        return Others(counters, orphans)

    async def live_jobs(
        self, connection: asyncpg.Connection, daemon_id: UUID, *, held: Iterable[UUID], full: bool
    ) -> list[LiveJob]:
        """The live jobs that name this daemon; not `full`: those that it holds or the claims' books know."""
        rows = self._sql.live_jobs(connection, id=daemon_id, held=list(held), full=full)
        return [_live(row) async for row in rows]

    async def class_known_elsewhere(
        self, connection: asyncpg.Connection, daemon_id: UUID, queue: str, job_class: str
    ) -> bool:
        """Whether another living daemon of this queue knows the class."""
        return bool(await self._sql.class_known_elsewhere(connection, id=daemon_id, queue=queue, job_class=job_class))


def _live(row: asyncpg.Record) -> LiveJob:
    card = card_of(row, queue=row["queue"], events=row["events"])
    return LiveJob(card, row["run"], row["stop_reason"], row["not_now"])
