"""What a daemon's configuration says of schedules, written into the table at its start, and told."""

from collections.abc import Sequence

import asyncpg
import structlog

from jobservice.domain.schedule_definition import Definition
from jobservice.schedules.table import ScheduleTable

log = structlog.get_logger(__name__)


class ScheduleConfiguration:
    """The schedules of the configuration of daemons that serve these queues."""

    def __init__(self, *, schema: str, definitions: Sequence[Definition], queues: Sequence[str]) -> None:
        self._table = ScheduleTable(schema=schema)
        self._definitions = definitions
        self._queues = queues

    async def write(self, connection: asyncpg.Connection) -> None:
        """Adds, changes and pauses what the configuration has added, changed and dropped."""
        found = await self._table.configure(connection, self._definitions, queues=self._queues)
        if found.added or found.changed:
            log.info("schedule.configure", added=found.added, changed=found.changed)
        if found.removed:
            log.warning("schedule.pause", schedules=found.removed, reason="the configuration names them no more")
        if found.taken:
            log.error("schedule.leave", schedules=found.taken, reason="a user has added schedules of these names")
        for schedule, reason in found.refused.items():
            log.error("schedule.refuse", schedule=schedule, reason=reason)
