"""Compares the claim's books with the jobs that wait, once a minute on one of all daemons, and mends them.

Triggers keep the books, so there is nothing to mend unless rows came past them: restored, replicated, put in by hand.
"""

import structlog

from jobservice.lifecycle.upkeep import Upkeep
from jobservice.store.session import Session

log = structlog.get_logger(__name__)

INTERVAL = 60.0
EVERY = INTERVAL - 5
"""A little less than the interval, so that a daemon alone does not miss its own turn."""
TOLD = 20
"""How many of the tenants found are named."""


class Audit:
    """`run_once` belongs to a Loop; the first round, at the daemon's start, finds what was restored."""

    def __init__(self, *, session: Session, upkeep: Upkeep) -> None:
        self._session = session
        self._upkeep = upkeep

    async def run_once(self) -> float | None:
        """One audit, where it is this daemon's turn. Raises UnavailableError."""
        async with self._session.use() as connection:
            if not await self._upkeep.may_audit(connection, every=EVERY):
                return None
            forgotten = await self._upkeep.call_forgotten(connection)
        if forgotten:
            log.warning("claim.forgotten", count=len(forgotten), tenants=forgotten[:TOLD])
        return None
