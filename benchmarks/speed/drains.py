"""How fast stored jobs are run: all are stored while the queue is paused, then it is resumed."""

import time
from dataclasses import dataclass

from benchmarks.speed.figures import Figures
from benchmarks.speed.installation import ENDED, PREFIX, Installation
from benchmarks.speed.processes import cpu_seconds, peak_resident

EVENTS = PREFIX
PER_JOB = {"all": 3, "final": 1, "none": 0}
"""Events of one run to its success, by what the queue publishes."""


@dataclass(frozen=True)
class Drain:
    """One way to drain: what its rows are called, and what the queue publishes."""

    name: str
    events: str = "all"
    costs: bool = False
    """Whether its bulk submission, costs and memory are rows, too."""

    async def run(self, made: Installation, pids: list[int], figures: Figures, *, jobs: int, tenants: int) -> None:
        """One round."""
        await made.pause(self.events)
        await made.broker.queue_declare(EVENTS, durable=True, arguments={"x-queue-type": "quorum"})
        await made.broker.queue_bind(EVENTS, f"{PREFIX}.events", routing_key="#")
        before = await made.database.fetchval("SELECT coalesce(max(number), 0) FROM jobservice.job_info")
        began = time.perf_counter()
        await made.submit(jobs, tenants)
        submitted = jobs / (time.perf_counter() - began)
        await made.database.execute("VACUUM ANALYZE jobservice.job_info")
        async with peak_resident(pids) as peak:
            spent = await self._timed(made, pids, figures, jobs, tenants)
        if self.costs:
            figures.add("bulk", submitted)
            figures.add("rss", peak[0])
            for name, each in spent.items():
                figures.add(name, each)
        await self._count(made, figures, before, jobs)
        await made.broker.queue_delete(EVENTS)

    async def _timed(
        self, made: Installation, pids: list[int], figures: Figures, jobs: int, tenants: int
    ) -> dict[str, float]:
        """From the resumption until all is SUCCEEDED, and until all is confirmed; what that cost a job."""
        # Asked for these alone while it runs: to look for any that waits costs more than the daemon's own statements.
        last_ones = await made.database.fetchval(
            "SELECT array_agg(id) FROM (SELECT id FROM jobservice.job_info ORDER BY number DESC LIMIT $1) j", tenants
        )
        wal = await made.database.fetchval("SELECT pg_current_wal_lsn()")
        own, servers, began = cpu_seconds(pids), made.server_seconds(), time.perf_counter()
        await made.resume()
        await made.until(
            "SELECT bool_and(status = 'SUCCEEDED') FROM jobservice.job_info WHERE id = ANY ($1::uuid[])", last_ones
        )
        await made.until(ENDED)
        figures.add(f"succeeded {self.name}", jobs / (time.perf_counter() - began))
        await made.until("SELECT NOT EXISTS (SELECT FROM jobservice.outbox)")
        figures.add(f"confirmed {self.name}", jobs / (time.perf_counter() - began))
        grown = await made.database.fetchval("SELECT pg_current_wal_lsn() - $1::pg_lsn", wal)
        return {
            "wal": float(grown) / jobs,
            "cpu daemons": (cpu_seconds(pids) - own) * 1e6 / jobs,
            **{f"cpu {name}": (now - servers[name]) * 1e6 / jobs for name, now in made.server_seconds().items()},
        }

    async def _count(self, made: Installation, figures: Figures, before: int, jobs: int) -> None:
        succeeded = await made.database.fetchval(
            "SELECT count(*) FROM jobservice.job_info WHERE number > $1 AND status = 'SUCCEEDED' AND run = 1", before
        )
        if succeeded != jobs:
            figures.problems.append(f"{self.name}: {succeeded} of {jobs} jobs SUCCEEDED in one run")
        # At least once: a repetition is not a loss, but where none are published there is nothing to repeat.
        events = (await made.broker.queue_declare(EVENTS, passive=True)).message_count or 0
        expected = jobs * PER_JOB[self.events]
        if events < expected or (events and not expected):
            figures.problems.append(f"{self.name}: {events} of {expected} events arrived")
