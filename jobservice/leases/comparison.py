"""Compares the rows with memory: the rows are right.

Answers get lost: a claim or a flush may be committed though its answer never came. With each heartbeat, and after each
lost connection, the live jobs that name this daemon are compared with the runs that it holds:

- a live job that it does not hold is handed back, by its run, at no attempt;
- a run that it holds and that is not live is abandoned: it belongs to somebody else, or to nobody;
- a stop mark that was not heard of is obeyed;
- a run that has not begun, for want of a process, is handed back where its pipeline is paused or its class held;
- own outbox rows that memory does not hold, twice in a row, are published by id.

A daemon that has nothing, in rows or in memory, compares at every third heartbeat only.

It runs on the claim's session, so that no claim is under way meanwhile.
"""

from typing import Protocol
from uuid import UUID

import structlog

from jobservice.domain.facts import JobCard
from jobservice.leases.full_look import FullLook
from jobservice.pool.in_flight import InFlight, RunKey
from jobservice.store.daemons import Daemons, LiveJob
from jobservice.store.outbox import Outbox
from jobservice.store.session import Session

SPARED = 2
"""Rounds left out after one that found nothing in the rows nor in memory: an idle daemon asks little."""

log = structlog.get_logger(__name__)


class HandsBack(Protocol):
    """What the comparison asks of the status writer."""

    def hand_back(self, job_id: UUID, run: int, card: JobCard, reason: str) -> None: ...
    def has(self, key: RunKey) -> bool: ...
    def deletes(self, outbox_id: int) -> bool: ...


class HoldsRows(Protocol):
    """What the comparison asks of the relay."""

    @property
    def behind(self) -> bool: ...
    def holds(self, outbox_id: int) -> bool: ...
    def catch_up(self, reason: str) -> None: ...


class Comparison:
    """`run_once` belongs to a Loop whose interval is the heartbeat's."""

    def __init__(
        self,
        *,
        session: Session,
        daemons: Daemons,
        outbox: Outbox,
        daemon_id: UUID,
        in_flight: InFlight,
        writer: HandsBack,
        relay: HoldsRows,
    ) -> None:
        self._session = session
        self._daemons = daemons
        self._outbox = outbox
        self._daemon_id = daemon_id
        self._in_flight = in_flight
        self._writer = writer
        self._relay = relay
        self._full_look = FullLook()
        self._strange_rows: set[int] = set()
        self._quiet = False
        self._spared = 0

    def doubt(self) -> None:
        """An answer was lost, or a stop was asked for: the next round compares, whatever memory says."""
        self._quiet = False

    async def run_once(self) -> float | None:
        """One comparison, or none while there is nothing to compare. Raises UnavailableError."""
        if self._quiet and not self._in_flight.keys and self._spared < SPARED:
            self._spared += 1
            return None
        self._spared = 0
        self._quiet = False
        full = self._full_look.due
        async with self._session.use() as connection:
            held_before = self._in_flight.keys
            live = await self._daemons.live_jobs(
                connection, self._daemon_id, held={job_id for job_id, _ in held_before}, full=full
            )
            own_rows = [] if self._relay.behind else await self._outbox.own_ids(connection, self._daemon_id)
            self._compare_jobs(live, held_before)
        if full:
            self._full_look.done()
        self._compare_rows(own_rows)
        self._quiet = not (live or own_rows or held_before)
        return None

    def _compare_jobs(self, live: list[LiveJob], held_before: frozenset[RunKey]) -> None:
        rows = {(job.card.job_id, job.run): job for job in live}
        for key, job in rows.items():
            if key not in held_before and key not in self._in_flight and not self._writer.has(key):
                log.warning("job.hand_back_unknown", job_id=str(key[0]), run=key[1])
                self._writer.hand_back(key[0], key[1], job.card, "its daemon does not hold it")
        for key in held_before - rows.keys():
            run = self._in_flight.find(key)
            # A run that has ended is about to be settled by the writer, which finds out by itself.
            if run is not None and not run.ended and not self._writer.has(key):
                self._in_flight.stale(key[0], key[1], None)
        self._in_flight.stop({key: job.stop_reason for key, job in rows.items() if job.stop_reason is not None})
        self._in_flight.keep_back({key: job.not_now for key, job in rows.items() if job.not_now is not None})

    def _compare_rows(self, own_rows: list[int]) -> None:
        strange = {row for row in own_rows if not self._relay.holds(row) and not self._writer.deletes(row)}
        if strange & self._strange_rows:
            self._relay.catch_up("own outbox rows that memory does not hold")
        self._strange_rows = strange
