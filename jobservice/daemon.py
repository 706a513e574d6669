"""One daemon under one identity: its parts, built by keyword, started bottom-up and stopped top-down."""

import asyncio
import os
import socket
import time
from enum import Enum
from typing import Any
from uuid import UUID, uuid4

import structlog

import jobservice
from jobservice.broker.connection import BrokerLink
from jobservice.broker.names import BrokerNames
from jobservice.broker.publisher import Publisher
from jobservice.broker.topology import declare
from jobservice.config import Settings
from jobservice.domain.errors import UnavailableError
from jobservice.doors import Doors
from jobservice.events.relay import Relay
from jobservice.leases.comparison import Comparison
from jobservice.leases.heartbeat import Heartbeat
from jobservice.leases.watch import Stillness, Watch
from jobservice.lifecycle.claim import Claimer
from jobservice.lifecycle.progress_writer import ProgressWriter
from jobservice.lifecycle.rescue import Rescuer
from jobservice.lifecycle.status_writer import StatusWriter
from jobservice.lifecycle.upkeep import Upkeep
from jobservice.loop import Loop
from jobservice.maintenance.due import DueWork
from jobservice.maintenance.observation import INTERVAL as OBSERVATION_INTERVAL
from jobservice.maintenance.observation import Observation
from jobservice.maintenance.retention import Retention
from jobservice.pool.executors import AsyncioExecutor, ThreadExecutor
from jobservice.pool.in_flight import InFlight
from jobservice.pool.pool import Pool
from jobservice.pool.workspace import Workspaces
from jobservice.scheduler.scheduler import Scheduler
from jobservice.scheduler.unknown_class import UnknownClassPolicy
from jobservice.sdk.registry import Registry
from jobservice.store.backlog import Backlog
from jobservice.store.daemons import DaemonRow, Daemons
from jobservice.store.outbox import Outbox
from jobservice.store.schema import require
from jobservice.store.session import Session
from jobservice.store.signals import Signals, listen
from jobservice.web.health import HealthServer

log = structlog.get_logger(__name__)

FLUSH_INTERVAL = 1.0
RELAY_INTERVAL = 1.0
LAST_EVENTS_SECONDS = 5.0
"""How long a leaving daemon tries to publish what it still holds; others sweep the rest."""
RECONNECT_SECONDS = 1.0


class Ending(Enum):
    """Why a daemon ended."""

    DRAINED = "drained"
    LOST = "lost"


class Daemon:
    """`run()` from boot to the end; `drain()` from a signal handler."""

    def __init__(self, *, settings: Settings, registry: Registry, run: bool, maintenance: bool) -> None:
        self.id: UUID = uuid4()
        self._settings = settings
        self._registry = registry
        self._runs_jobs = run
        self._maintains = maintenance
        self._draining = asyncio.Event()
        self._at_once = asyncio.Event()
        self._lost = asyncio.Event()
        self._started_at = time.monotonic()
        self._build()

    # What the outside does.

    def drain(self, *, at_once: bool = False) -> None:
        """Claim nothing more, let runs end, leave; `at_once` hands them back without waiting."""
        self._draining.set()
        if at_once:
            self._at_once.set()

    async def run(self) -> Ending:
        """Boot, work, leave. Raises SchemaError when the schema does not fit."""
        if not await self._register():
            return Ending.DRAINED
        await self._start()
        try:
            await self._until_told()
            if self._lost.is_set():
                await self._give_up()
                return Ending.LOST
            await self._leave()
            return Ending.DRAINED
        finally:
            await self._stop()

    # Building: bottom-up.

    def _build(self) -> None:
        settings, schema = self._settings, self._settings.database.schema_name
        url = settings.database_url or ""
        self._daemons = Daemons(schema=schema)
        self._outbox = Outbox(schema=schema)
        self._claim_session = Session(url=url, name="claim")
        self._writer_session = Session(url=url, name="writer")
        self._intake_session = Session(url=url, name="intake", on_connect=self._listen)
        self._names = BrokerNames(settings.broker.prefix)
        self._link = BrokerLink(url=settings.amqp_url or "", name=f"jobservice events {self.id}", set_up=self._declare)
        self._in_flight = InFlight(log=log, released=lambda key: self._scheduler.release(key))
        self._build_writing(schema)
        self._build_running(schema)
        self._build_upkeep(schema)
        self._doors = Doors(
            amqp_url=settings.amqp_url or "",
            daemon_id=self.id,
            names=self._names,
            publishing=self._link,
            declare=self._declare,
            session=self._intake_session,
            schema=schema,
            max_bytes=settings.submission.max_bytes,
            drain=self._told_to_drain,
        )
        self._observation = Observation(
            session=self._intake_session,
            backlog=Backlog(schema=schema),
            queues=settings.daemon.queues,
            count_rejected=self._doors.count_rejected,
        )
        self._loops_of_upkeep.append(
            Loop(name="observation", run_once=self._observation.run_once, interval=OBSERVATION_INTERVAL)
        )
        self._loops = [*self._loops_of_writing, *self._loops_of_upkeep, *self._loops_of_running]
        self._health = HealthServer(
            settings.daemon.http_host, settings.daemon.http_port, live=self._live, ready=self._ready
        )

    def _build_writing(self, schema: str) -> None:
        self._writer = StatusWriter(
            session=self._writer_session,
            daemon_id=self.id,
            schema=schema,
            publish=lambda committed: self._relay.offer(committed),
            listener=self._in_flight,
            wake=lambda: self._writer_loop.wake(),
        )
        self._writer_loop = Loop(name="writer", run_once=self._writer.run_once, interval=FLUSH_INTERVAL)
        self._relay = Relay(
            session=self._intake_session,
            outbox=self._outbox,
            publisher=Publisher(link=self._link, exchange=self._names.events),
            daemon_id=self.id,
            result_max_bytes=self._settings.events.result_max_bytes,
            confirm=self._writer.confirm,
            wake=lambda: self._relay_loop.wake(),
        )
        self._relay_loop = Loop(name="relay", run_once=self._relay.run_once, interval=RELAY_INTERVAL)
        self._loops_of_writing = [self._writer_loop, self._relay_loop]

    def _build_running(self, schema: str) -> None:
        settings = self._settings
        self._threads = ThreadExecutor(settings.pool.threads)
        self._workspaces = Workspaces(settings.workspace.directory / str(self.id), log)
        self._claimer = Claimer(daemon_id=self.id, schema=schema, submissions_published=settings.events.submissions)
        unknown_class = UnknownClassPolicy(
            session=self._claim_session,
            daemons=self._daemons,
            daemon_id=self.id,
            leave_alone=lambda job_class: self._scheduler.leave_alone(job_class),
        )
        self._pool = Pool(
            capacity=settings.pool.capacity,
            in_flight=self._in_flight,
            registry=self._registry,
            executors={"asyncio": AsyncioExecutor(), "thread": self._threads},
            workspaces=self._workspaces,
            reports=self._writer,
            unknown_class=unknown_class,
            slot_freed=lambda: self._scheduler_loop.wake(),
            log=log,
        )
        self._scheduler = Scheduler(
            session=self._claim_session,
            claimer=self._claimer,
            daemons=self._daemons,
            daemon_id=self.id,
            queues=settings.daemon.queues,
            pool=self._pool,
            publish=self._relay.offer,
            doubt=lambda: self._comparison_loop.wake(),
        )
        self._scheduler_loop = Loop(name="scheduler", run_once=self._scheduler.run_once, interval=settings.daemon.poll)
        progress = ProgressWriter(
            session=self._writer_session, daemon_id=self.id, schema=schema, runs=lambda: self._in_flight.runs
        )
        progress_loop = Loop(
            name="progress", run_once=progress.run_once, interval=settings.jobs.completion_update_interval
        )
        self._loops_of_running = [progress_loop, self._scheduler_loop] if self._runs_jobs else []

    def _build_upkeep(self, schema: str) -> None:
        settings = self._settings
        self._heartbeat = Heartbeat(
            url=settings.database_url or "",
            daemons=self._daemons,
            daemon_id=self.id,
            interval=settings.daemon.heartbeat,
            stuck_after=settings.daemon.stuck_after,
            running=lambda: self._pool.running,
            draining=self._draining.is_set,
            lost=self._lost.set,
        )
        comparison = Comparison(
            session=self._claim_session,
            daemons=self._daemons,
            outbox=self._outbox,
            daemon_id=self.id,
            in_flight=self._in_flight,
            writer=self._writer,
            relay=self._relay,
        )
        self._comparison_loop = Loop(
            name="comparison", run_once=comparison.run_once, interval=settings.daemon.heartbeat
        )
        watch = Watch(
            session=self._intake_session,
            daemons=self._daemons,
            daemon_id=self.id,
            rescuer=Rescuer(schema=schema, max_lost_runs=settings.daemon.max_lost_runs),
            stillness=Stillness(lease=settings.daemon.lease, longest_gap=settings.daemon.lease / 2),
            rescued=self._rescued,
        )
        watch_loop = Loop(name="watch", run_once=watch.run_once, interval=settings.daemon.heartbeat)
        upkeep = Upkeep(schema=schema)
        due = DueWork(
            session=self._intake_session,
            upkeep=upkeep,
            claimer=self._claimer,
            sweep=self._relay.sweep,
            queued=lambda: self._scheduler_loop.wake(),
        )
        self._due_loop = Loop(name="due", run_once=due.run_once, interval=settings.daemon.poll)
        retention = Retention(
            session=self._intake_session,
            upkeep=upkeep,
            succeeded=settings.retention.succeeded,
            failed=settings.retention.failed,
            pending=settings.retention.pending,
        )
        retention_loop = Loop(name="retention", run_once=retention.run_once, interval=60.0)
        self._loops_of_upkeep = [self._comparison_loop, watch_loop]
        if self._maintains:
            self._loops_of_upkeep += [self._due_loop, retention_loop]

    # Boot.

    async def _register(self) -> bool:
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
        )
        published = {
            "events.submissions": "true" if settings.events.submissions else "false",
            "tenants.closed": "true" if settings.tenants.closed else "false",
        }
        told = False
        while not self._draining.is_set():
            try:
                async with self._claim_session.use() as connection:
                    await require(connection, settings.database.schema_name)
                    await self._daemons.register(connection, row, published)
                return True
            except UnavailableError as error:
                if not told:
                    log.warning("daemon.wait_for_database", reason=str(error))
                told = True
            await _wait(self._draining, RECONNECT_SECONDS)
        return False

    async def _start(self) -> None:
        self._heartbeat.start()
        await self._link.start()
        port = await self._health.start()
        for loop in self._loops:
            loop.start()
        await self._doors.start()
        url = f"http://{self._settings.daemon.http_host}:{port}"
        async with self._claim_session.use() as connection:
            await self._daemons.set_http_url(connection, self.id, url)
        log.info(
            "daemon.start",
            daemon_id=str(self.id),
            queues=list(self._settings.daemon.queues),
            capacity=self._pool.capacity,
            job_classes=self._registry.names,
            http_url=url,
        )

    async def _until_told(self) -> None:
        waits = [asyncio.create_task(event.wait()) for event in (self._draining, self._lost)]
        await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
        for wait in waits:
            wait.cancel()

    # The end.

    async def _leave(self) -> None:
        """Drain: claim nothing, let runs end, hand the rest back, publish, leave the books."""
        self._scheduler.paused = True
        timeout = 0.0 if self._at_once.is_set() else self._settings.daemon.drain_timeout
        await self._doors.stop()
        log.info("daemon.drain", daemon_id=str(self.id), running=self._pool.running, timeout_seconds=timeout)
        ended = asyncio.create_task(self._pool.wait_ended(within=timeout))
        told = asyncio.create_task(self._at_once.wait())
        await asyncio.wait({ended, told}, return_when=asyncio.FIRST_COMPLETED)
        told.cancel()
        ended.cancel()
        await self._hand_back()
        with_events = await _within(self._writer.drained(), LAST_EVENTS_SECONDS)
        with_events = with_events and await _within(self._relay.drained(), LAST_EVENTS_SECONDS)
        await _within(self._sign_off(), LAST_EVENTS_SECONDS)
        log.info("daemon.leave", daemon_id=str(self.id), all_published=with_events)

    async def _hand_back(self) -> None:
        """Ends what can be ended, and gives back what ends with this process."""
        self._pool.hand_back_all()
        await self._pool.wait_ended(within=self._settings.pool.stop_grace)
        for run in self._in_flight.runs:
            if not run.ended:
                run.abandon()
                self._writer.hand_back(run.job_id, run.run, run.claimed.card, "the daemon ends")

    async def _sign_off(self) -> None:
        async with self._writer_session.use() as connection:
            await self._daemons.leave(connection, self.id)

    async def _give_up(self) -> None:
        """Another daemon has taken the jobs over: end the runs and write nothing."""
        self._scheduler.paused = True
        self._pool.abandon_all()
        await self._pool.wait_ended(within=self._settings.pool.stop_grace)

    async def _stop(self) -> None:
        await self._doors.stop()
        for loop in reversed(self._loops):
            await loop.stop()
        await self._health.stop()
        await self._heartbeat.stop()
        await self._link.stop()
        self._threads.close()
        for session in (self._claim_session, self._writer_session, self._intake_session):
            await session.close()

    # What is heard.

    async def _listen(self, connection: Any) -> None:
        signals = Signals(
            wake=self._heard_wake,
            stop=self._heard_stop,
            due=lambda _: self._due_loop.wake(),
            facts=lambda _: self._relay.sweep(),
            drain=self._heard_drain,
        )
        await listen(connection, self._settings.database.schema_name, signals)

    def _heard_wake(self, queue: str) -> None:
        if queue in self._settings.daemon.queues:
            self._scheduler_loop.wake()

    def _heard_stop(self, daemon_id: str) -> None:
        if daemon_id == str(self.id):
            self._comparison_loop.wake()

    def _heard_drain(self, daemon_id: str) -> None:
        if daemon_id in ("", str(self.id)):
            log.info("daemon.told_to_drain", daemon_id=str(self.id))
            self.drain()

    async def _told_to_drain(self, daemon_id: UUID | None) -> None:
        self._heard_drain("" if daemon_id is None else str(daemon_id))

    def _rescued(self) -> None:
        self._relay.sweep()
        self._scheduler_loop.wake()

    async def _declare(self, channel: Any) -> None:
        await declare(channel, self._names)

    # What health says.

    def _live(self) -> dict[str, Any]:
        return {
            "daemon_id": str(self.id),
            "uptime_seconds": round(time.monotonic() - self._started_at, 1),
            "loop_lag_seconds": round(self._heartbeat.loop_lag_seconds, 3),
        }

    def _ready(self) -> tuple[bool, dict[str, Any]]:
        now = time.monotonic()
        database = self._claim_session.connected and not self._scheduler_loop.failures
        claimed_at = self._scheduler.claimed_at
        ready = database and self._link.connected and not self._draining.is_set() and not self._lost.is_set()
        return ready, {
            **self._live(),
            "database": database,
            "broker": self._link.connected,
            "broker_blocked": self._link.blocked,
            "draining": self._draining.is_set(),
            "running": self._pool.running,
            "capacity": self._pool.capacity,
            "uncommitted": self._writer.waiting,
            "claim_age_seconds": None if claimed_at is None else round(now - claimed_at, 3),
            "heartbeat_age_seconds": round(now - self._heartbeat.beat_at, 3),
            "outbox_age_seconds": round(self._relay.lag_seconds, 3),
            "outbox_behind": self._relay.behind,
            "queued": self._observation.waiting.queued,
            "oldest_queued_seconds": self._observation.waiting.oldest_seconds,
            "rejected": self._observation.rejected,
        }


async def _wait(event: asyncio.Event, seconds: float) -> None:
    try:
        async with asyncio.timeout(seconds):
            await event.wait()
    except TimeoutError:
        return


async def _within(awaitable: Any, seconds: float) -> bool:
    try:
        async with asyncio.timeout(seconds):
            await awaitable
    except (TimeoutError, UnavailableError):
        return False
    return True
