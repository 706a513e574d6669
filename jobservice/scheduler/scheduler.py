"""Asks for as many jobs as there are free slots, as soon as it may be worth it, and gives them to the pool.

Woken by a submitter's NOTIFY, at the poll floor, and when a run is over: by its slot where there may be more to claim,
else by its committed end, which may be what a limit waited for. Nothing found: it looks again after 5, 10, 20 ms, then
marks the daemon idle (from then on submitters notify), looks at once and twice later, and waits. A single job does not
end that; work that goes on does. Where a rate holds jobs back, it waits no longer than until the next one may start.
"""

import asyncio
import time
from collections.abc import Callable, Sequence
from uuid import UUID

import structlog

from jobservice.domain.facts import Committed
from jobservice.lifecycle.claim import Claim, Claimer
from jobservice.pool.pool import Pool
from jobservice.store.daemons import Daemons
from jobservice.store.session import Session
from jobservice.throttle import Throttle

log = structlog.get_logger(__name__)

LOOK_AGAIN = (0.005, 0.010, 0.020)
"""Seconds between looks that found nothing, before the daemon counts as idle."""
LOOK_LATE = (0.0, 0.030, 0.150)
"""And after: who asked whether somebody sleeps just before the mark, and commits after the look, wakes nobody. Its job
then waited for the poll: on a busy machine about one of twenty that came 40 ms apart."""
SOONEST = 0.005
"""Seconds that a daemon waits at least for a rate: of a fast one, several starts at a time."""
GATHER_SECONDS = 0.003
"""Between two claims for few of many slots, which come free one by one: batches are cheap, single claims are not. Slots
that come free more seldom are claimed for at once."""
FULL_SECONDS = 0.02
"""Until the next look when ended runs that wait for their commit leave no room for more."""
LEFT_ALONE_SECONDS = 30.0
"""How long a daemon does not claim a job class that it has found out it does not know."""


class Scheduler:
    """`run_once` belongs to a Loop."""

    def __init__(
        self,
        *,
        session: Session,
        claimer: Claimer,
        daemons: Daemons,
        daemon_id: UUID,
        queues: Sequence[str],
        pool: Pool,
        publish: Callable[[Committed], None],
        doubt: Callable[[], None],
        withheld: Callable[[], Sequence[str]],
        wake: Callable[[], None],
        awaits: Callable[[], None],
        poll: float,
    ) -> None:
        """`withheld` are job classes that this daemon knows and cannot run now; `poll` is the loop's interval.

        `wake` has `run_once` called now; `awaits` is told when `awaits_commits` becomes true.
        """
        self._session = session
        self._claimer = claimer
        self._daemons = daemons
        self._daemon_id = daemon_id
        self._queues = list(queues)
        self._pool = pool
        self._publish = publish
        self._doubt = doubt
        self._withheld = withheld
        self._wake = wake
        self._awaits = awaits
        self._poll = poll
        self._looks = 0
        self._found_before = False
        self._more = True
        """Whether free slots are all that a claim needs to bring more; true while one is under way."""
        self.awaits_commits = False
        """Whether the last claim brought less than it had slots for: a limit, or an empty queue, may await ends."""
        self._idle = False
        self._throttle = Throttle(allowance=GATHER_SECONDS)
        self._again_in: float | None = None
        self._left_alone: dict[str, float] = {}
        self._released: set[tuple[str, str]] = set()
        self.paused = False
        """Set by a drain: nothing is claimed any more."""
        self.claimed_at: float | None = None
        """`time.monotonic()` of the last claim that was answered."""

    def slot_freed(self) -> None:
        """A run has ended; its end is not committed yet."""
        if self._more:
            self._wake()

    def release(self, key: tuple[str, str] | None) -> None:
        """The end of a run, with this concurrency key or none, is committed: what its limits held back may come."""
        if key is not None:
            self._released.add(key)
        if not self._more:
            self._wake()

    def leave_alone(self, job_class: str) -> None:
        """This daemon does not know the class; others do. Not claimed for a while."""
        self._left_alone[job_class] = time.monotonic() + LEFT_ALONE_SECONDS

    async def run_once(self) -> float | None:
        """One look for jobs. Raises UnavailableError."""
        if self.paused:
            return None
        free = self._pool.free
        if free <= 0:
            return FULL_SECONDS if self._pool.full else None
        if free * 4 < self._pool.capacity:
            now = time.monotonic()
            if wait := self._throttle.wait(now):
                return wait
            self._throttle.spend(now, GATHER_SECONDS)
        self._more = True
        found = await self._claim_for(free)
        found_before, self._found_before = self._found_before, found > 0
        if not found:
            return await self._nothing_found()
        if found_before or self._more:
            self._looks = 0
            await self._mark(idle=False)
        return 0 if self._pool.free > 0 and self._more else GATHER_SECONDS

    async def _nothing_found(self) -> float | None:
        again_in = None if self._again_in is None else max(self._again_in, SOONEST)
        if again_in is not None and again_in <= LOOK_AGAIN[-1]:
            return again_in
        if self._looks == len(LOOK_AGAIN):
            await self._mark(idle=True)
        waits = LOOK_AGAIN + LOOK_LATE
        if self._looks < len(waits):
            self._looks += 1
            return waits[self._looks - 1]
        return None if again_in is None else min(again_in, self._poll)

    async def _mark(self, *, idle: bool) -> None:
        if idle != self._idle:
            async with self._session.use() as connection:
                await self._daemons.set_idle(connection, self._daemon_id, idle)
            self._idle = idle

    async def _claim_for(self, free: int) -> int:
        """Each queue with work gets an equal share of the slots, in turn; what is left goes to who still asks."""
        await self._unblock()
        self._again_in = None
        asking = list(self._queues)
        self._queues.append(self._queues.pop(0))
        found = 0
        while asking and free - found > 0:
            share = -(-(free - found) // len(asking))
            still: list[str] = []
            for queue in asking:
                slots = min(share, free - found)
                if slots <= 0:
                    break
                got = await self._claim(queue, slots)
                found += got
                self._more = found >= free
                await asyncio.sleep(0)  # the runs begin, and short ones end
                if got == slots:
                    still.append(queue)
            asking = still
        awaited, self.awaits_commits = self.awaits_commits, found < free
        if self.awaits_commits and not awaited:
            self._awaits()
        return found

    async def _claim(self, queue: str, slots: int) -> int:
        slot_time = self._pool.slot_time
        charges = slot_time.take_charges(queue)
        try:
            async with self._session.use() as connection:
                claim = await self._claimer.claim(
                    connection,
                    queue=queue,
                    slots=slots,
                    skipped_classes=self._skipped(),
                    charges=charges,
                    unwritten=slot_time.unwritten(queue),
                )
                self.claimed_at = time.monotonic()
                if claim.again_in is not None:
                    self._again_in = min(claim.again_in, claim.again_in if self._again_in is None else self._again_in)
                self._take_over(claim)  # before anybody else may compare rows with memory on this session
        except BaseException:
            slot_time.give_back(queue, charges)
            self._doubt()
            raise
        return len(claim.jobs)

    def _take_over(self, claim: Claim) -> None:
        # The runs first: whoever is woken later gets the event loop later, and to publish takes longer than to start.
        for job in claim.jobs:
            key = claim.keys.get(job.card.job_id) if claim.keys else None
            self._pool.start(job, key)
        if claim.committed is not None:
            self._publish(claim.committed)
        if log.is_enabled_for(_INFO):
            for job in claim.jobs:
                card = job.card
                log.info(
                    "job.claim",
                    job_id=str(card.job_id),
                    run=job.run,
                    tenant=card.tenant,
                    queue=card.queue,
                    job_class=card.job_class,
                    correlation_id=card.correlation_id,
                )

    async def _unblock(self) -> None:
        if not self._released:
            return
        keys, self._released = list(self._released), set()
        try:
            async with self._session.use() as connection:
                await self._claimer.unblock(connection, keys)
        except BaseException:
            self._released.update(keys)
            raise

    def _skipped(self) -> list[str]:
        now = time.monotonic()
        self._left_alone = {name: until for name, until in self._left_alone.items() if until > now}
        return [*self._left_alone, *self._withheld()]


_INFO = 20
