"""The parts of one daemon, built by keyword, bottom-up. Starting and stopping them is `daemon`'s."""

from typing import Any, Protocol
from uuid import UUID

import structlog

from jobservice.broker.connection import BrokerLink
from jobservice.broker.names import BrokerNames
from jobservice.broker.topology import declare
from jobservice.config import Settings
from jobservice.daemon.doors import Doors
from jobservice.daemon.executors import Executors
from jobservice.daemon.housekeeping import Housekeeping
from jobservice.daemon.publishing import Publishing
from jobservice.domain.breaker import BreakerRule
from jobservice.leases.comparison import Comparison
from jobservice.leases.heartbeat import Heartbeat
from jobservice.leases.watch import Stillness, Watch
from jobservice.lifecycle.breaker import Breaker
from jobservice.lifecycle.claim import Claimer, first_published
from jobservice.lifecycle.class_holds import ClassHolds
from jobservice.lifecycle.progress_writer import ProgressWriter
from jobservice.lifecycle.rescue import Rescuer
from jobservice.lifecycle.status_writer import StatusWriter
from jobservice.loop import Loop
from jobservice.maintenance.observation import INTERVAL as OBSERVATION_INTERVAL
from jobservice.maintenance.observation import Observation
from jobservice.maintenance.workspace_watch import INTERVAL as WATCH_INTERVAL
from jobservice.maintenance.workspace_watch import WorkspaceWatch
from jobservice.pool.in_flight import InFlight
from jobservice.pool.pool import Pool
from jobservice.pool.workspace import Workspaces
from jobservice.pool.workspace_owner import SWEEP_INTERVAL, WorkspaceOwner
from jobservice.scheduler.scheduler import Scheduler
from jobservice.scheduler.unknown_class import UnknownClassPolicy
from jobservice.schedules.configuration import ScheduleConfiguration
from jobservice.sdk.registry import Registry
from jobservice.store.backlog import Backlog
from jobservice.store.daemons import Daemons
from jobservice.store.outbox import Outbox
from jobservice.store.session import PINNED_PLANS, Session
from jobservice.workflow.settling import Settler

log = structlog.get_logger(__name__)

FLUSH_INTERVAL = 1.0
BREAKER_INTERVAL = 60.0
SELDOM = 5
"""How many polls an idle scheduler waits where the look for due work looks for jobs, too: in case that is held up."""


class Ears(Protocol):
    """What the parts tell the daemon."""

    async def listen_for_jobs(self, connection: Any) -> None: ...
    async def listen(self, connection: Any) -> None: ...
    async def told_to_drain(self, daemon_id: UUID | None) -> None: ...
    def is_draining(self) -> bool: ...
    def lost(self) -> None: ...


class Parts:
    """Everything that a daemon consists of. Parts that name each other are bound late, by lambdas."""

    def __init__(
        self, *, settings: Settings, registry: Registry, daemon_id: UUID, run: bool, maintenance: bool, ears: Ears
    ) -> None:
        self.id = daemon_id
        self._settings = settings
        self._registry = registry
        self._runs_jobs = run
        self._maintains = maintenance
        self._ears = ears
        schema = settings.database.schema_name
        url = settings.database_url or ""
        self.daemons = Daemons(schema=schema)
        self.schedules = ScheduleConfiguration(
            schema=schema,
            definitions=[section.definition(name) for name, section in settings.schedule.items()],
            queues=settings.daemon.queues,
        )
        self.settler = Settler(schema=schema)
        # Who hears of jobs is who claims them: no second process of the server is woken, and no errand holds it up.
        self.claim_session = Session(url=url, name="claim", owner=daemon_id, on_connect=ears.listen_for_jobs)
        self.writer_session = Session(url=url, name="writer", owner=daemon_id, settings=PINNED_PLANS)
        self.intake_session = Session(url=url, name="intake", owner=daemon_id, on_connect=ears.listen)
        self._names = BrokerNames(settings.broker.prefix)
        self.link = BrokerLink(
            url=settings.amqp_url or "", name=f"jobservice events {self.id}", set_up=self.declare_topology
        )
        self.in_flight = InFlight(log=log, released=lambda key: self.scheduler.release(key))
        self._build_writing(schema)
        self._build_running(schema)
        self._build_upkeep(schema)
        self.doors = Doors(
            amqp_url=settings.amqp_url or "",
            daemon_id=self.id,
            names=self._names,
            publishing=self.link,
            declare=self.declare_topology,
            session=self.intake_session,
            schema=schema,
            max_bytes=settings.submission.max_bytes,
            drain=ears.told_to_drain,
        )
        self.observation = Observation(
            session=self.intake_session,
            backlog=Backlog(schema=schema),
            queues=settings.daemon.queues,
            count_rejected=self.doors.count_rejected,
        )
        self._loops_of_upkeep.append(
            Loop(name="observation", run_once=self.observation.run_once, interval=OBSERVATION_INTERVAL)
        )
        self.loops = [*self._loops_of_writing, *self._loops_of_upkeep, *self._loops_of_running]

    def _build_writing(self, schema: str) -> None:
        self.writer = StatusWriter(
            session=self.writer_session,
            daemon_id=self.id,
            schema=schema,
            publish=lambda committed: self.publishing.relay.offer(committed),
            listener=self.in_flight,
            follower=self.settler,
            wake=lambda: self._writer_loop.wake(),
            due_soon=lambda: self.housekeeping.due_soon(),
            first_published=first_published(submissions=self._settings.events.submissions),
            awaited=lambda: self.scheduler.awaits_commits,
        )
        self._writer_loop = Loop(name="writer", run_once=self.writer.run_in_turn, interval=FLUSH_INTERVAL)
        self.publishing = Publishing(
            session=self.intake_session,
            link=self.link,
            names=self._names,
            daemon_id=self.id,
            schema=schema,
            result_max_bytes=self._settings.events.result_max_bytes,
            confirm=self.writer.confirm,
        )
        self._loops_of_writing = [self._writer_loop, *self.publishing.loops]

    def _build_breaker(self, schema: str) -> Breaker:
        breaker = Breaker(
            session=self.intake_session,
            holds=ClassHolds(schema=schema),
            daemon_id=self.id,
            rule=BreakerRule(window=self._settings.breaker.window, share=self._settings.breaker.share),
            reports=self.writer,
            wake=lambda: loop.wake(),
        )
        loop = Loop(name="breaker", run_once=breaker.run_once, interval=BREAKER_INTERVAL)
        self._loops_of_writing.append(loop)
        return breaker

    def _build_running(self, schema: str) -> None:
        self.executors = Executors(settings=self._settings, daemon_id=self.id)
        self._build_workspaces()
        self._claimer = Claimer(
            daemon_id=self.id, schema=schema, submissions_published=self._settings.events.submissions
        )
        self._build_pool(schema)
        self._build_scheduler()
        progress = ProgressWriter(
            session=self.writer_session, daemon_id=self.id, schema=schema, runs=lambda: self.in_flight.runs
        )
        progress_loop = Loop(
            name="progress", run_once=progress.run_once, interval=self._settings.jobs.completion_update_interval
        )
        left_over_loop = Loop(name="workspaces", run_once=self.workspace_owner.run_once, interval=SWEEP_INTERVAL)
        watch_loop = Loop(name="workspace watch", run_once=self.workspace_watch.run_once, interval=WATCH_INTERVAL)
        self._loops_of_running = [progress_loop, left_over_loop, watch_loop, self.scheduler_loop]
        if not self._runs_jobs:
            self._loops_of_running = []

    def _build_workspaces(self) -> None:
        settings = self._settings
        self.workspaces = Workspaces(settings.workspace.directory / str(self.id), log)
        self.workspace_owner = WorkspaceOwner(self.workspaces.directory, log)
        self.workspace_watch = WorkspaceWatch(
            directory=settings.workspace.directory,
            occupied=lambda: [(run.claimed.card.tenant, run.workspace) for run in self.in_flight.runs if run.workspace],
            needing=[each.name for each in self._registry.definitions if each.needs_workspace],
            warn_percent=settings.workspace.warn_percent,
            pause_percent=settings.workspace.pause_percent,
            tenant_max_bytes=settings.workspace.tenant_max_bytes,
            resumed=lambda: self.scheduler_loop.wake(),
        )

    def _build_pool(self, schema: str) -> None:
        settings = self._settings
        unknown_class = UnknownClassPolicy(
            session=self.claim_session,
            daemons=self.daemons,
            daemon_id=self.id,
            leave_alone=lambda job_class: self.scheduler.leave_alone(job_class),
        )
        self.pool = Pool(
            capacity=settings.pool.capacity,
            in_flight=self.in_flight,
            registry=self._registry,
            executors=self.executors.by_name,
            workspaces=self.workspaces,
            reports=self._build_breaker(schema) if settings.breaker.window else self.writer,
            unknown_class=unknown_class,
            slot_freed=lambda: self.scheduler.slot_freed(),
            stop_grace=settings.pool.stop_grace,
            log=log,
        )

    def _build_scheduler(self) -> None:
        settings = self._settings
        self.scheduler = Scheduler(
            session=self.claim_session,
            claimer=self._claimer,
            daemons=self.daemons,
            daemon_id=self.id,
            queues=settings.daemon.queues,
            pool=self.pool,
            publish=self.publishing.relay.offer,
            doubt=self.compare,
            withheld=lambda: self.workspace_watch.withheld,
            wake=lambda: self.scheduler_loop.wake(),
            awaits=lambda: self._writer_loop.wake(),
            poll=settings.daemon.poll,
        )
        self.scheduler_loop = Loop(
            name="scheduler",
            run_once=self.scheduler.run_once,
            interval=settings.daemon.poll * (SELDOM if self._maintains else 1),
        )

    def _build_upkeep(self, schema: str) -> None:
        settings = self._settings
        self.heartbeat = Heartbeat(
            url=settings.database_url or "",
            daemons=self.daemons,
            daemon_id=self.id,
            interval=settings.daemon.heartbeat,
            stuck_after=settings.daemon.stuck_after,
            running=lambda: self.pool.running,
            stuck=lambda: self.pool.stuck,
            draining=self._ears.is_draining,
            withheld=lambda: self.workspace_watch.withheld if self.workspace_watch.full else (),
            lost=self._ears.lost,
        )
        self._comparison = Comparison(
            session=self.claim_session,
            daemons=self.daemons,
            outbox=Outbox(schema=schema),
            daemon_id=self.id,
            in_flight=self.in_flight,
            writer=self.writer,
            relay=self.publishing.relay,
        )
        self.comparison_loop = Loop(
            name="comparison", run_once=self._comparison.run_once, interval=settings.daemon.heartbeat
        )
        watch = Watch(
            session=self.intake_session,
            daemons=self.daemons,
            daemon_id=self.id,
            rescuer=Rescuer(schema=schema, max_lost_runs=settings.daemon.max_lost_runs, follower=self.settler),
            stillness=Stillness(lease=settings.daemon.lease, longest_gap=settings.daemon.lease / 2),
            rescued=self._rescued,
        )
        watch_loop = Loop(name="watch", run_once=watch.run_once, interval=settings.daemon.heartbeat)
        self.housekeeping = Housekeeping(
            settings=settings,
            session=self.intake_session,
            claimer=self._claimer,
            settler=self.settler,
            sweep=self.publishing.sweep,
            queued=lambda: self.scheduler_loop.wake(),
            queues=settings.daemon.queues if self._runs_jobs else (),
        )
        self._loops_of_upkeep = [self.comparison_loop, watch_loop]
        if self._maintains:
            self._loops_of_upkeep += self.housekeeping.loops

    @property
    def database_trouble(self) -> str | None:
        """Why the daemon cannot do all its work in the database; None where it can, as far as it has tried."""
        sessions = (self.claim_session, self.writer_session, self.intake_session)
        return next((part.trouble for part in (*sessions, self.heartbeat, self.scheduler_loop) if part.trouble), None)

    async def declare_topology(self, channel: Any) -> None:
        """On each new connection, before anybody publishes or consumes."""
        await declare(channel, self._names)

    def compare(self) -> None:
        """Rows and memory, now: an answer was lost, or somebody asked for a stop."""
        self._comparison.doubt()
        self.comparison_loop.wake()

    def _rescued(self) -> None:
        self.publishing.sweep()
        self.scheduler_loop.wake()
