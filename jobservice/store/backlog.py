"""How much waits on a daemon's queues, for its health page."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import asyncpg

from jobservice.store.sql import load

_FILE = Path(__file__).with_name("backlog.sql")


@dataclass(frozen=True, slots=True)
class Waiting:
    """Queued jobs (at most 10,000 of each queue are looked at) and how long the oldest of them has waited."""

    queued: int = 0
    oldest_seconds: float | None = None


class Backlog:
    """The caller brings the connection."""

    def __init__(self, *, schema: str) -> None:
        self._sql = load(_FILE, schema)

    async def of(self, connection: asyncpg.Connection, queues: Sequence[str]) -> Waiting:
        """What waits on these queues now."""
        row = await self._sql.backlog(connection, queues=list(queues))
        return Waiting(row["queued"], row["oldest_seconds"])
