"""One daemon under one identity: its parts, built by keyword, started bottom-up and stopped top-down."""

import asyncio
import os
import socket
import time
from concurrent.futures import ThreadPoolExecutor
from enum import Enum
from typing import Any, Protocol
from uuid import UUID, uuid4

import structlog

import jobservice
from jobservice.config import Settings
from jobservice.daemon.condition import Condition
from jobservice.daemon.parts import Parts
from jobservice.deadlines import done_within, set_within
from jobservice.domain.errors import UnavailableError
from jobservice.sdk.registry import Registry
from jobservice.store.daemons import DaemonRow
from jobservice.store.schema import require
from jobservice.store.signals import Signal, listen
from jobservice.web.health import HealthServer

log = structlog.get_logger(__name__)

LAST_EVENTS_SECONDS = 5.0
"""How long a leaving daemon tries to publish what it still holds; others sweep the rest."""
RECONNECT_SECONDS = 1.0
ERRANDS = 4
"""Threads for the daemon's own use."""


class Ending(Enum):
    """Why a daemon ended."""

    DRAINED = "drained"
    LOST = "lost"


class Superior(Protocol):
    """The supervisor of a daemon that is one of several: it answers for them, and is told when one works."""

    @property
    def http_url(self) -> str: ...
    def started(self) -> None: ...


class Daemon:
    """`run()` from boot to the end; `drain()` from a signal handler."""

    def __init__(
        self,
        *,
        settings: Settings,
        registry: Registry,
        run: bool,
        maintenance: bool,
        superior: Superior | None = None,
    ) -> None:
        self.id: UUID = uuid4()
        self._settings = settings
        self._registry = registry
        self._runs_jobs = run
        self._draining = asyncio.Event()
        self._at_once = asyncio.Event()
        self._lost = asyncio.Event()
        self._parts = Parts(
            settings=settings, registry=registry, daemon_id=self.id, run=run, maintenance=maintenance, ears=self
        )
        self._superior = superior
        self._condition = Condition(
            self._parts, draining=self._draining.is_set, lost=self._lost.is_set, started_at=time.monotonic()
        )
        self._health = HealthServer(
            settings.daemon.http_host,
            settings.daemon.http_port,
            live=self._condition.live,
            ready=self._condition.readiness,
        )

    # What the outside does.

    def drain(self, *, at_once: bool = False) -> None:
        """Claim nothing more, let runs end, leave; `at_once` hands them back without waiting."""
        self._draining.set()
        if at_once:
            self._at_once.set()

    async def run(self) -> Ending:
        """Boot, work, leave. Raises SchemaError when the schema does not fit."""
        try:
            http_url = await self._open_health()
            if not await self._register(http_url):
                return Ending.DRAINED
            await self._start(http_url)
            await self._until_told()
            if self._lost.is_set():
                await self._give_up()
                return Ending.LOST
            await self._leave()
            return Ending.DRAINED
        finally:
            await self._stop()

    # Boot.

    async def _open_health(self) -> str:
        """Before anything else: a daemon that waits for its database is alive, and is to say so."""
        if self._superior is not None:
            return self._superior.http_url
        port = await self._health.start()
        return f"http://{self._settings.daemon.http_host}:{port}"

    async def _register(self, http_url: str) -> bool:
        """Waits for the database, then enters the daemon's row; False when told to end before."""
        settings = self._settings
        row = DaemonRow(
            id=self.id,
            host=socket.gethostname(),
            pid=os.getpid(),
            version=jobservice.__version__,
            queues=settings.daemon.queues,
            job_classes=tuple(self._registry.names),
            capacity=settings.pool.capacity if self._runs_jobs else 0,
            http_url=http_url,
        )
        published = {
            "events.submissions": "true" if settings.events.submissions else "false",
            "tenants.closed": "true" if settings.tenants.closed else "false",
        }
        told = False
        while not self._draining.is_set():
            try:
                async with self._parts.claim_session.use() as connection:
                    await require(connection, settings.database.schema_name)
                    await self._parts.schedules.write(connection)
                    await self._parts.daemons.register(connection, row, published)
                return True
            except UnavailableError as error:
                if not told:
                    log.warning("daemon.wait_for_database", reason=str(error))
                told = True
            await set_within(self._draining, RECONNECT_SECONDS)
        return False

    async def _start(self, http_url: str) -> None:
        if self._runs_jobs:
            self._parts.workspace_owner.take()
            # Functions of steps wait here, one for each job. By itself asyncio makes 4 more than there are cores.
            threads = ThreadPoolExecutor(self._settings.pool.threads + ERRANDS, thread_name_prefix="step")
            asyncio.get_running_loop().set_default_executor(threads)
        self._parts.heartbeat.start()
        await self._parts.link.start()
        for loop in self._parts.loops:
            loop.start()
        await self._parts.doors.start()
        log.info(
            "daemon.start",
            daemon_id=str(self.id),
            queues=list(self._settings.daemon.queues),
            capacity=self._parts.pool.capacity,
            job_classes=self._registry.names,
            http_url=http_url,
        )
        if self._superior is not None:
            self._superior.started()

    async def _until_told(self) -> None:
        waits = [asyncio.create_task(event.wait()) for event in (self._draining, self._lost)]
        await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
        for wait in waits:
            wait.cancel()

    # The end.

    async def _leave(self) -> None:
        """Drain: claim nothing, let runs end, hand the rest back, publish, leave the books."""
        self._parts.scheduler.paused = True
        timeout = 0.0 if self._at_once.is_set() else self._settings.daemon.drain_timeout
        await self._parts.doors.stop()
        log.info("daemon.drain", daemon_id=str(self.id), running=self._parts.pool.running, timeout_seconds=timeout)
        self._parts.pool.leave_soon()
        ended = asyncio.create_task(self._parts.pool.wait_ended(within=timeout))
        told = asyncio.create_task(self._at_once.wait())
        await asyncio.wait({ended, told}, return_when=asyncio.FIRST_COMPLETED)
        told.cancel()
        ended.cancel()
        await self._hand_back()
        with_events = await done_within(self._parts.writer.drained(), LAST_EVENTS_SECONDS)
        with_events = with_events and await done_within(self._parts.publishing.relay.drained(), LAST_EVENTS_SECONDS)
        with_events = with_events and await done_within(
            self._parts.publishing.pipeline_sweep.drained(), LAST_EVENTS_SECONDS
        )
        await done_within(
            self._parts.writer.tidied(), LAST_EVENTS_SECONDS
        )  # or others publish once more what is published
        await done_within(self._sign_off(), LAST_EVENTS_SECONDS)
        log.info("daemon.leave", daemon_id=str(self.id), all_published=with_events)

    async def _hand_back(self) -> None:
        """Ends what can be ended, and gives back what ends with this process."""
        self._parts.pool.hand_back_all()
        await self._parts.pool.wait_ended(within=self._settings.pool.stop_grace)
        for run in self._parts.in_flight.runs:
            if not run.ended:
                run.abandon()
                self._parts.writer.hand_back(run.job_id, run.run, run.claimed.card, "the daemon ends")

    async def _sign_off(self) -> None:
        async with self._parts.writer_session.use() as connection:
            await self._parts.daemons.leave(connection, self.id)

    async def _give_up(self) -> None:
        """Another daemon has taken the jobs over: end the runs and write nothing."""
        self._parts.scheduler.paused = True
        self._parts.pool.abandon_all()
        await self._parts.pool.wait_ended(within=self._settings.pool.stop_grace)

    async def _stop(self) -> None:
        await self._parts.doors.stop()
        for loop in reversed(self._parts.loops):
            await loop.stop()
        await self._health.stop()
        await self._parts.heartbeat.stop()
        await self._parts.link.stop()
        await self._parts.executors.close()
        self._parts.workspaces.close()
        self._parts.workspace_owner.release()
        for session in (self._parts.claim_session, self._parts.writer_session, self._parts.intake_session):
            await session.close()

    def readiness(self) -> tuple[bool, dict[str, Any]]:
        """Whether it can do its work now, and the facts that tell why."""
        return self._condition.readiness()

    # What is heard.

    def is_draining(self) -> bool:
        """Whether it claims nothing any more."""
        return self._draining.is_set()

    def lost(self) -> None:
        """Another daemon has marked this one lost."""
        self._lost.set()

    async def listen_for_jobs(self, connection: Any) -> None:
        """Hears of jobs on `connection`, for as long as it lives."""
        await listen(connection, self._settings.database.schema_name, {Signal.WAKE: self._heard_wake})

    async def listen(self, connection: Any) -> None:
        """Hears the other signals of the database on `connection`, for as long as it lives."""
        signals = {
            Signal.STOP: self._heard_stop,
            Signal.DUE: lambda _: self._parts.housekeeping.due_soon(),
            Signal.FACTS: lambda _: self._parts.publishing.sweep(),
            Signal.DRAIN: self._heard_drain,
        }
        await listen(connection, self._settings.database.schema_name, signals)

    def _heard_wake(self, queue: str) -> None:
        if queue in self._settings.daemon.queues:
            self._parts.scheduler_loop.wake()

    def _heard_stop(self, daemon_id: str) -> None:
        if daemon_id == str(self.id):
            self._parts.compare()

    def _heard_drain(self, daemon_id: str) -> None:
        if daemon_id in ("", str(self.id)):
            log.info("daemon.told_to_drain", daemon_id=str(self.id))
            self.drain()

    async def told_to_drain(self, daemon_id: UUID | None) -> None:
        """A command came: this daemon drains where it is named, or all are (None)."""
        self._heard_drain("" if daemon_id is None else str(daemon_id))
