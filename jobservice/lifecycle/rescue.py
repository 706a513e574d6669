"""Takes the jobs of daemons that are not alive back into their queues: any daemon does it, and none leads."""

from pathlib import Path
from uuid import UUID

import asyncpg
import structlog

from jobservice.lifecycle.following import Follower, changes_of_rows
from jobservice.store.sql import load

log = structlog.get_logger(__name__)

_FILE = Path(__file__).with_name("upkeep.sql")
BATCH = 500


class Rescuer:
    """TO_BE_RUN / RUNNING → QUEUED, ABORTED (stop mark) or FAILED (lost too often)."""

    def __init__(self, *, schema: str, max_lost_runs: int, follower: Follower) -> None:
        self._sql = load(_FILE, schema)
        self._follower = follower
        self._max_lost_runs = max_lost_runs

    async def mark_lost_and_rescue(self, connection: asyncpg.Connection, daemon_id: UUID, counter: int) -> bool:
        """Marks the daemon lost if its counter still stands, and hands its jobs back, in one transaction.

        False when it beat in between. Then ends what sessions it still has on the server.
        """
        async with connection.transaction():
            marked = await self._sql.mark_lost(connection, daemon=daemon_id, counter=counter)
            if marked is None:
                return False
            log.warning("daemon.mark_lost", daemon_id=str(daemon_id), counter=counter)
            await self._rescue(connection)
        try:
            async for _ in self._sql.cut_off(connection, daemon=daemon_id):
                pass
        except asyncpg.InsufficientPrivilegeError as error:
            log.warning("daemon.cut_off", daemon_id=str(daemon_id), reason=str(error))
        return True

    async def rescue(self, connection: asyncpg.Connection) -> bool:
        """One batch of live jobs whose daemon is not alive; whether there may be more."""
        async with connection.transaction():
            return await self._rescue(connection) == BATCH

    async def _rescue(self, connection: asyncpg.Connection) -> int:
        rows = [row async for row in self._sql.rescue(connection, max_lost_runs=self._max_lost_runs, batch=BATCH)]
        for row in rows:
            log.warning(
                "job.rescue", job_id=str(row["id"]), status=row["status"], lost_daemon_id=str(row["lost_daemon"])
            )
        if rows:
            async for _ in self._sql.end_lost_steps(connection, ids=[row["id"] for row in rows]):
                pass
        await self._follower.settle(connection, changes_of_rows(rows))
        return len(rows)
