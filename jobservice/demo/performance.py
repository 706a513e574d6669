"""One performance of the plan on servers that are up: what is needed for it is made, and gone after it.

Gathers the evidence on the way; judges nothing.
"""

import asyncio
from concurrent.futures import Future
from contextlib import AbstractAsyncContextManager

from jobservice.client.service import JobInfoService
from jobservice.demo.course import SILENCE_SECONDS, Course
from jobservice.demo.daemon_process import DaemonProcess
from jobservice.demo.display import Display
from jobservice.demo.foreign import ForeignService
from jobservice.demo.installation import Installation
from jobservice.demo.observer import Observer
from jobservice.demo.plan import Plan
from jobservice.demo.record import Record
from jobservice.demo.sample import compared

_PAGE = 1000


class Performance:
    """`played()` gives the record. Cancelled, it leaves as little behind as when it ends."""

    def __init__(
        self, *, installation: Installation, daemon: DaemonProcess, plan: Future[Plan], display: Display
    ) -> None:
        self._installation = installation
        self._daemon = daemon
        self._plan = plan
        self._display = display
        self._observer = Observer(display.event)

    async def played(self) -> Record:
        """Schema, daemon, course, drain, evidence. Raises DemoFailed where it does not get so far."""
        installation = self._installation
        async with installation.there():
            async with self._daemon.going(installation.environment()):
                record = await self._followed()
                await asyncio.gather(self._gather(record), installation.all_published(SILENCE_SECONDS))
                record.daemon_exit = await asyncio.to_thread(self._daemon.drain)
            record.unpublished = await installation.unpublished()
        workspace = installation.workspace
        record.workspace = sorted(path.name for path in workspace.iterdir()) if workspace.exists() else []
        record.events = self._observer.events
        return record

    async def _followed(self) -> Record:
        """The course, with somebody who listens to it; listening begins before the first job is submitted."""
        installation = self._installation
        async with self._client() as jobs:
            await self._daemon.until_ready(jobs)
            async with ForeignService.connected(installation.amqp_url) as foreign:
                await foreign.subscribe(installation.names.events, self._observer.hear)
                plan = await asyncio.wrap_future(self._plan)
                with self._display:
                    self._display.expect(plan.jobs_by_tenant)
                    course = Course(
                        plan=plan,
                        jobs=jobs,
                        foreign=foreign,
                        now=installation.now,
                        names=installation.names,
                        observer=self._observer,
                        say=self._display.say,
                    )
                    return await course.run()

    async def _gather(self, record: Record) -> None:
        async with self._client() as jobs:
            after = None
            while True:
                page = await jobs.find(limit=_PAGE, after=after)
                record.rows |= {job.job_id: job for job in page.jobs if job.job_id is not None}
                after = page.next
                if after is None:
                    break
        record.compared = await asyncio.to_thread(compared, list(record.rows.values()))

    def _client(self) -> AbstractAsyncContextManager[JobInfoService]:
        installation = self._installation
        return JobInfoService.connect(installation.database_url, schema=installation.schema)
