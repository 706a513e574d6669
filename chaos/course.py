"""One run as a table of contents: prepare, disturb, let it settle, look for what is left, compare."""

import asyncio
import json
import os
import random
import sys
import time
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path

import aiormq
import asyncpg

from chaos import leftovers
from chaos.checks import Evidence, check
from chaos.daemon_logs import unforeseen
from chaos.faults import Faults
from chaos.findings import QUERIES, find
from chaos.fleet import Fleet
from chaos.jobs.effects import URL as JOBS_DATABASE_URL
from chaos.leftovers import until
from chaos.load import Load
from chaos.main_thread import MainThread
from chaos.pipeline_checks import PipelineEvidence, by_pipeline, check_pipelines
from chaos.pipeline_load import PipelineLoad
from chaos.pipeline_plan import PlannedPipeline
from chaos.pipeline_recorder import PipelineRecorder
from chaos.plan import LIMITED, Plan
from chaos.recorder import Recorder
from chaos.report import Outcome
from chaos.servers import Servers
from jobservice.servers.stack import PrivateStack
from jobservice.store.schema import apply

PREFIX = "chaos"
MAX_LOST_RUNS = 3
STOP_GRACE = 3.0
READY_WITHIN = 60.0
SETTLED_WITHIN = 180.0
STILL_QUIET_AFTER = 2.0
RESTART_PAUSE = 1.0
HEARTBEATS_IN_LEASE = 6


@dataclass(frozen=True)
class Sizes:
    """What the command line says of a run."""

    seed: int
    daemons: int
    lease: float

    @property
    def first_sequence(self) -> int:
        """Every other seed has submissions published, too: then claims look for unpublished facts of others."""
        return 1 + self.seed % 2


class Course:
    """`run` is the whole of it."""

    def __init__(
        self,
        *,
        plan: Plan,
        pipelines: list[PlannedPipeline],
        sizes: Sizes,
        stack: PrivateStack,
        main: MainThread,
        directory: Path,
    ) -> None:
        self._plan = plan
        self._sizes = sizes
        self._database_url = stack.database_url
        self._amqp_url = stack.amqp_url
        self._versions = "; ".join(stack.describe())
        self._workspaces = directory / "workspaces"
        self._fleet = Fleet(
            main=main,
            count=sizes.daemons,
            database_url=stack.database_url,
            amqp_url=stack.amqp_url,
            environment=self._environment(),
            directory=directory,
        )
        self._faults = Faults(fleet=self._fleet, stack=stack, main=main)
        self._recorder = Recorder(url=stack.amqp_url, prefix=PREFIX)
        self._pipeline_recorder = PipelineRecorder(url=stack.amqp_url, prefix=PREFIX)
        self._servers = Servers(database_url=stack.database_url, amqp_url=stack.amqp_url, prefix=PREFIX)
        self._load = Load(plan=plan, servers=self._servers, recorder=self._recorder)
        self._pipelines = PipelineLoad(plan=pipelines, servers=self._servers)
        self._wrong: dict[str, list[str]] = {}
        self._notes: dict[str, object] = {}
        self._unforeseen: list[str] = []

    async def run(self) -> Outcome:
        """From an empty installation to its judgement."""
        began = time.monotonic()
        recording = asyncio.gather(self._recorder.run(), self._pipeline_recorder.run())
        try:
            await self._prepare()
            await self._disturb()
            await self._settle()
            await self._look_for_leftovers()
            evidence, pipelines = await self._gather()
        finally:
            recording.cancel()
            await asyncio.gather(recording, return_exceptions=True)
            await self._load.close()
            await self._servers.close()
            await self._fleet.close()
        self._notes["client calls repeated for want of an answer"] = self._servers.lost_answers
        self._wrong = check(evidence, max_lost_runs=MAX_LOST_RUNS) | check_pipelines(pipelines) | self._wrong
        return Outcome(
            seed=self._sizes.seed,
            versions=self._versions,
            seconds=time.monotonic() - began,
            daemons=self._sizes.daemons,
            lease=self._sizes.lease,
            faults=self._faults.done,
            evidence=evidence,
            pipelines=pipelines,
            wrong=self._wrong,
            notes=self._notes,
            unforeseen=self._unforeseen,
        )

    # The steps, in their order.

    async def _prepare(self) -> None:
        connection = await asyncpg.connect(self._database_url)
        try:
            await apply(connection)
            await connection.execute(Path(__file__).with_name("effects.sql").read_text())
            for tenant, most in LIMITED.items():
                await connection.execute(
                    "INSERT INTO jobservice.tenant (tenant, max_running) VALUES ($1, $2)", tenant, most
                )
            await self._recorder.ready()
            await self._pipeline_recorder.ready()
            await self._fleet.start()
            # Who submits before a daemon has declared the queues is told so by nobody.
            if not await until(lambda: self._all_beat(connection), READY_WITHIN):
                raise RuntimeError(f"the daemons did not start; see {self._fleet.logs[0].read_text()[-2000:]}")
        finally:
            await connection.close()

    async def _all_beat(self, connection: asyncpg.Connection) -> bool:
        beating = await connection.fetchval("SELECT count(*) FROM jobservice.daemon WHERE counter > 1 AND idle")
        return bool(beating == self._sizes.daemons) and all(place.broker.connections for place in self._fleet.places)

    async def _disturb(self) -> None:
        restarting = asyncio.create_task(
            self._load.restart_some(random.Random(f"restarts {self._sizes.seed}"), RESTART_PAUSE)
        )
        telling = asyncio.create_task(self._tell())
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(self._load.run())
                group.create_task(self._pipelines.run())
                group.create_task(self._faults.run(self._plan.faults))
        finally:
            for task in (restarting, telling):
                task.cancel()
            await asyncio.gather(restarting, telling, return_exceptions=True)

    async def _tell(self) -> None:
        while True:
            await asyncio.sleep(10)
            recorder = self._recorder
            ended = sum(life[-1].final for life in recorder.lives.values())
            print(
                f"{self._faults.elapsed:6.0f} s  {self._faults.done.total():4} faults  {len(self._load.told.keys):6}"
                f" accepted  {len(recorder.lives):6} told of  {ended:6} ended  {recorder.events:7} events",
                file=sys.stderr,
            )

    async def _settle(self) -> None:
        began = time.monotonic()
        await self._load.stop_the_rest()
        ending = asyncio.create_task(self._pipelines.bring_to_end())
        connection = await asyncpg.connect(self._database_url)
        broker = await aiormq.connect(self._amqp_url)
        try:
            channel = await broker.channel()

            async def quiet() -> bool:
                waiting = await _messages(channel, "submissions") + await _messages(channel, "control")
                [row] = await connection.fetch(QUERIES["counts"])
                published = (
                    self._recorder.events >= row["changes"] - row["jobs"] * (self._sizes.first_sequence - 1)
                    and self._pipeline_recorder.events >= row["pipeline_changes"]
                )
                live = row["live"] + row["live_pipelines"]
                return bool(not waiting and not live and not row["outbox"] and published)

            # Twice: a command that a daemon has in hand is in no queue and in no row yet.
            settled = await until(quiet, SETTLED_WITHIN)
            await asyncio.sleep(STILL_QUIET_AFTER)
            settled = settled and await until(quiet, SETTLED_WITHIN)
            wrong = [] if settled else [f"it is not quiet {SETTLED_WITHIN:.0f} s after"]
            rejected = await _messages(channel, "rejected")
            wrong += [f"{rejected} messages were rejected"] if rejected else []
            ending.cancel()
            await asyncio.gather(ending, return_exceptions=True)
            wrong += await leftovers.of_idle_daemons(connection, self._fleet)
        finally:
            ending.cancel()
            await connection.close()
            await broker.close()
        self._notes["time to settle after the last fault"] = f"{time.monotonic() - began:.1f} s"
        self._wrong["all settles, and daemons hold nothing when there is nothing to do"] = wrong

    async def _look_for_leftovers(self) -> None:
        await self._fleet.leave()
        connection = await asyncpg.connect(self._database_url)
        try:
            wrong = await leftovers.of_ended_daemons(connection, self._fleet, self._workspaces)
        finally:
            await connection.close()
        self._wrong["no connection, process or workspace is left"] = wrong
        self._wrong["daemons ended when told to, and only then"] = self._fleet.problems
        self._unforeseen = unforeseen(self._fleet.logs)

    async def _gather(self) -> tuple[Evidence, PipelineEvidence]:
        connection = await asyncpg.connect(self._database_url)
        try:
            found = await find(connection)
        finally:
            await connection.close()
        told = self._pipelines.told
        restarted = frozenset(str(each) for each in told.restarts)
        of_stage: defaultdict[str, list[str]] = defaultdict(list)
        for job in found.jobs.values():
            if job["stage_id"] is not None:
                of_stage[job["stage_id"]].append(job["id"])
        pipelines = PipelineEvidence(
            told=told,
            recorder=self._pipeline_recorder,
            pipelines=found.pipelines,
            stages=by_pipeline(found.stages),
            jobs=of_stage,
            lives=self._recorder.lives,
        )
        return Evidence(self._load.told, self._recorder, found, self._sizes.first_sequence, restarted), pipelines

    def _environment(self) -> dict[str, str]:
        kept = {name: value for name, value in os.environ.items() if not name.startswith("JOBSERVICE_")}
        settings = {
            "broker__prefix": PREFIX,
            "jobs__packages": json.dumps(["chaos.jobs"]),
            "jobs__completion_update_interval": 0.5,
            "daemon__lease": self._sizes.lease,
            "daemon__heartbeat": self._sizes.lease / HEARTBEATS_IN_LEASE,
            "daemon__drain_timeout": 2.0,
            "daemon__max_lost_runs": MAX_LOST_RUNS,
            "pool__capacity": 20,
            "pool__processes": 2,
            "pool__stop_grace": STOP_GRACE,
            "events__submissions": "true" if self._sizes.first_sequence == 1 else "false",
            "workspace__directory": self._workspaces,
            "logs__level": "warning",
            "logs__format": "json",
        }
        return {
            **kept,
            JOBS_DATABASE_URL: self._database_url,
            **{f"JOBSERVICE_{name.upper()}": str(value) for name, value in settings.items()},
        }


async def _messages(channel: aiormq.abc.AbstractChannel, queue: str) -> int:
    return (await channel.queue_declare(f"{PREFIX}.{queue}", passive=True)).message_count or 0
