"""Holds a job class when too many of its last runs at this daemon have failed. Built only where the breaker is on.

It stands between the pool and the status writer: every report passes through, and the ends are counted. It writes
nothing but the hold, which somebody must release.
"""

from collections import defaultdict
from collections.abc import Callable
from typing import Protocol
from uuid import UUID

import structlog

from jobservice.domain.breaker import BreakerRule, RecentRuns
from jobservice.domain.outcomes import Failed, Outcome, Retried, Succeeded
from jobservice.lifecycle.class_holds import ClassHolds
from jobservice.lifecycle.status_writer import RunLike
from jobservice.store.session import Session

log = structlog.get_logger(__name__)


class Reports(Protocol):
    """Who is to have the reports: the status writer."""

    def start(self, run: RunLike) -> None: ...
    def finish(self, run: RunLike, outcome: Outcome) -> None: ...


class Breaker:
    """`start` and `finish` never wait; `run_once` belongs to a Loop."""

    def __init__(
        self,
        *,
        session: Session,
        holds: ClassHolds,
        daemon_id: UUID,
        rule: BreakerRule,
        reports: Reports,
        wake: Callable[[], None],
    ) -> None:
        self._session = session
        self._holds = holds
        self._daemon_id = daemon_id
        self._rule = rule
        self._reports = reports
        self._wake = wake
        self._recent: defaultdict[str, RecentRuns] = defaultdict(lambda: RecentRuns(rule))
        self._to_hold: dict[str, str] = {}
        """Class → reason."""

    def start(self, run: RunLike) -> None:
        """Passed on."""
        self._reports.start(run)

    def finish(self, run: RunLike, outcome: Outcome) -> None:
        """Passed on, and counted where the job has run: what could not begin says nothing about its class."""
        self._reports.finish(run, outcome)
        if run.started_at is None:
            return
        match outcome:
            case Succeeded():
                self._count(run.claimed.card.job_class, None)
            case Failed() as failed:
                self._count(run.claimed.card.job_class, failed)
            case Retried(failed=failed):
                self._count(run.claimed.card.job_class, failed)
            case _:  # stopped, handed back, parked: neither
                return

    async def run_once(self) -> float | None:
        """Holds what is to be held. Raises UnavailableError; then it is kept for the next."""
        while self._to_hold:
            job_class, reason = next(iter(self._to_hold.items()))
            async with self._session.use() as connection:
                held = await self._holds.hold(connection, job_class, reason=reason)
            del self._to_hold[job_class]
            if held:
                log.warning("class.hold", job_class=job_class, reason=reason)
        return None

    def _count(self, job_class: str, failed: Failed | None) -> None:
        failures = self._recent[job_class].add(failed=failed is not None)
        if failures is None:
            return
        last = "" if failed is None else f", the last one with {failed.error_type}"
        of = f"{failures} of its last {self._rule.window} runs"
        self._to_hold[job_class] = f"breaker: {of} in daemon {self._daemon_id} failed{last}"
        self._wake()
