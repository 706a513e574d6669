"""What the demo hears: every event in the order received, and who waits for one. It asks no server."""

import asyncio
from collections.abc import Callable, Set
from uuid import UUID

from jobservice.broker.messages import JobEvent
from jobservice.domain.states import JobStatus


class Observer:
    """`hear` is called with each event's body; `told` passes it on to the display, once."""

    def __init__(self, told: Callable[[JobEvent], None]) -> None:
        self.events: list[JobEvent] = []
        self._told = told
        self._changed = asyncio.Event()
        self._ended: set[UUID] = set()
        self._started: set[UUID] = set()
        self._seen: set[str] = set()

    def hear(self, body: bytes) -> None:
        """The next event. Raises ValueError where it is none."""
        event = JobEvent.parse(body)
        self.events.append(event)
        if event.final:
            self._ended.add(event.job_id)
        if event.status is JobStatus.RUNNING:
            self._started.add(event.job_id)
        self._changed.set()
        if event.id not in self._seen:  # events come at least once, and a viewer wants them once
            self._seen.add(event.id)
            self._told(event)

    async def started(self, job_id: UUID, silence: float) -> None:
        """Return once the job was RUNNING, or has ended without. TimeoutError: no event at all for `silence` s."""
        await self._until(lambda: job_id in self._started | self._ended, silence)

    async def ended(self, jobs: Set[UUID], silence: float) -> None:
        """Return once each of the jobs has ended. TimeoutError: no event at all for `silence` seconds."""
        await self._until(lambda: jobs <= self._ended, silence)

    async def _until(self, happened: Callable[[], bool], silence: float) -> None:
        while not happened():
            self._changed.clear()
            async with asyncio.timeout(silence):
                await self._changed.wait()
