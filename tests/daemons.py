"""Daemons in this process and in others, a foreign subscriber that keeps all events, and a reader of the database."""

import asyncio
import json
import os
import signal
import sys
import time
from collections import defaultdict
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Any
from uuid import UUID

import aiohttp
import aiormq
import asyncpg
import psutil

from jobservice.config import Settings
from jobservice.daemon.daemon import Daemon, Ending
from jobservice.sdk.registry import Registry

ROOT = Path(__file__).parents[1]
PACKAGES = ROOT / "tests" / "daemon" / "packages"
SECONDS = 60.0
"""How long anything here is waited for at most."""

Claim = Callable[[], Awaitable[Any]]


async def until(claim: Claim, what: str | Callable[[], str], seconds: float = SECONDS) -> Any:
    """Polls until the claim holds; its value. Fails after `seconds`, saying what it waited for."""
    deadline = time.monotonic() + seconds
    pause = 0.01
    while not (value := await claim()):
        assert time.monotonic() < deadline, f"not within {seconds:g} s: {what if isinstance(what, str) else what()}"
        await asyncio.sleep(pause)
        pause = min(0.1, pause * 1.1)  # long waits are for what has work to do
    return value


def lives(pid: int) -> bool:
    """Whether there is such a process; one that nobody has waited for yet is none."""
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


# ------------------------------------------------------------------------------------------------------ the database


class Books:
    """Reads and submits as any foreign client would: with plain SQL."""

    def __init__(self, connection: asyncpg.Connection) -> None:
        self.connection = connection

    async def submit(self, job_class: str, parameters: dict[str, Any] | None = None, **fields: Any) -> UUID:
        return (await self.submit_many([{"job_class": job_class, "parameters": parameters or {}, **fields}]))[0]

    async def submit_many(self, jobs: list[dict[str, Any]]) -> list[UUID]:
        rows = await self.connection.fetch(
            "SELECT job_id FROM jobservice.submit($1::text::jsonb)", json.dumps(jobs, default=str)
        )
        return [UUID(str(row["job_id"])) for row in rows]

    async def stop(self, *ids: UUID) -> None:
        await self.connection.fetch("SELECT * FROM jobservice.stop_jobs($1::uuid[])", list(ids))

    async def job(self, job_id: UUID) -> asyncpg.Record:
        return await self.connection.fetchrow("SELECT * FROM jobservice.job_info WHERE id = $1", job_id)

    async def value(self, query: str, *arguments: Any) -> Any:
        return await self.connection.fetchval(query, *arguments)

    async def is_in(self, job_id: UUID, *statuses: str, seconds: float = SECONDS) -> asyncpg.Record:
        """Waits until the job is in one of these statuses."""

        async def look() -> asyncpg.Record | None:
            job = await self.job(job_id)
            return job if job["status"] in statuses else None

        return await until(look, f"job {job_id} in {statuses}", seconds)

    async def all_final(self, seconds: float = SECONDS) -> None:
        """Waits until no job waits or runs."""

        async def none() -> bool:
            return not await self.value(
                """SELECT EXISTS (SELECT FROM jobservice.job_info
                                  WHERE status IN ('PENDING', 'QUEUED', 'TO_BE_RUN', 'RUNNING'))"""
            )

        await until(none, "all jobs ended", seconds)

    async def all_published(self, seconds: float = SECONDS) -> None:
        """Waits until the outboxes are empty."""

        async def empty() -> bool:
            return not await self.value(
                "SELECT (SELECT count(*) FROM jobservice.outbox) + (SELECT count(*) FROM jobservice.pipeline_outbox)"
            )

        await until(empty, "the outboxes are empty", seconds)


# --------------------------------------------------------------------------------------------------------- the broker


class Recorder:
    """An AMQP client that knows nothing of this package: binds `#` and keeps what comes."""

    def __init__(self) -> None:
        self.events: list[dict[str, Any]] = []
        """What came first of each event, in that order: what came again is dropped."""
        self._seen: set[str] = set()
        self.connection: aiormq.abc.AbstractConnection | None = None

    async def open(self, url: str, prefix: str) -> None:
        self.connection = await aiormq.connect(url)
        channel = await self.connection.channel()
        await channel.basic_qos(prefetch_count=5_000)
        await channel.exchange_declare(f"{prefix}.events", exchange_type="topic", durable=True)
        queue = (await channel.queue_declare(exclusive=True)).queue
        assert queue is not None
        await channel.queue_bind(queue, f"{prefix}.events", "#")
        await channel.basic_consume(queue, self._keep, no_ack=True)

    async def close(self) -> None:
        if self.connection is not None:
            await self.connection.close()

    async def _keep(self, message: Any) -> None:
        event = json.loads(message.body)
        if event["id"] not in self._seen:
            self._seen.add(event["id"])
            self.events.append(event["data"] | {"key": message.delivery.routing_key})

    def of(self, job_id: UUID) -> list[dict[str, Any]]:
        """A job's events."""
        return self.by_job().get(str(job_id), [])

    def by_job(self) -> dict[str, list[dict[str, Any]]]:
        jobs: defaultdict[str, list[dict[str, Any]]] = defaultdict(list)
        for event in self.events:
            jobs[event["job_id"]].append(event)
        return jobs

    def statuses(self, job_id: UUID) -> list[str]:
        return [event["status"] for event in self.of(job_id)]

    async def has(self, job_id: UUID, *statuses: str, seconds: float = SECONDS) -> None:
        """Waits until exactly these statuses have come."""

        async def come() -> bool:
            return len(self.of(job_id)) >= len(statuses)

        await until(come, lambda: f"{statuses} of {job_id}, got {self.statuses(job_id)}", seconds)
        assert self.statuses(job_id) == list(statuses)

    async def complete(self, books: Books, *, ends: int = 1, seconds: float = SECONDS) -> None:
        """Waits until the events of all jobs have come, and asserts that each job's are complete and in order.

        All jobs must have ended, `ends` times.
        """
        rows = await books.connection.fetch("SELECT id::text, sequence, status FROM jobservice.job_info")
        wanted = sum(row["sequence"] - 1 for row in rows)

        async def come() -> bool:
            return len(self.events) >= wanted

        await until(come, f"{wanted} events", seconds)
        jobs = self.by_job()
        for row in rows:
            events = jobs[row["id"]]
            assert [event["sequence"] for event in events] == list(range(2, row["sequence"] + 1))
            assert all(b["previous_status"] == a["status"] for a, b in pairwise(events))
            assert events[-1]["status"] == row["status"]
            assert sum(event["final"] for event in events) == ends


# --------------------------------------------------------------------------------------- daemons inside this process


@dataclass
class Running:
    """A daemon in this process."""

    daemon: Daemon
    task: asyncio.Task[Ending]

    @property
    def id(self) -> UUID:
        return self.daemon.id

    async def asked(self, path: str = "/readyz") -> tuple[int, dict[str, Any]]:
        """What its health server answers, once it listens: on a port that nobody else can have taken before."""

        async def listens() -> Any:
            return self.daemon._health._runner

        host, port = (await until(listens, "the daemon listens")).addresses[0]
        async with aiohttp.ClientSession() as session, session.get(f"http://{host}:{port}{path}") as answer:
            return answer.status, await answer.json()

    async def told_to_end(self, runs: int = 1) -> None:
        """Waits until so many of its runs know that they are to end: who has asked is not who is asked."""

        async def told() -> bool:
            return sum(run.ending is not None for run in self.daemon._parts.in_flight.runs) >= runs

        await until(told, f"{runs} runs know that they are to end")

    async def leave(self, *, at_once: bool = False) -> Ending:
        self.daemon.drain(at_once=at_once)
        async with asyncio.timeout(SECONDS):
            return await self.task


@dataclass
class Daemons:
    """Builds daemons; ends them with the test."""

    database_url: str
    amqp_url: str
    prefix: str
    directory: Path
    running: list[Running] = field(default_factory=list)

    def settings(self, **sections: Any) -> Settings:
        # A lease that no stall of a busy machine outlasts; who tries a death says a shorter one.
        daemon = {"heartbeat": 0.3, "lease": 20.0, "poll": 0.2, "drain_timeout": 5.0} | sections.pop("daemon", {})
        pool = {"capacity": 10, "stop_grace": 2.0} | sections.pop("pool", {})
        urls = {"database_url": self.database_url, "amqp_url": self.amqp_url}
        return Settings(
            **{
                **urls,
                "broker": {"prefix": self.prefix},
                "daemon": daemon,
                "pool": pool,
                "jobs": {"completion_update_interval": 0.1},
                "workspace": {"directory": self.directory / "workspaces", "pause_percent": 0},
                **sections,
            }
        )

    def build(
        self, *, registry: Registry | None = None, run: bool = True, maintenance: bool = True, **sections: Any
    ) -> Daemon:
        registry = registry or Registry.load(["trial_jobs"])
        return Daemon(settings=self.settings(**sections), registry=registry, run=run, maintenance=maintenance)

    async def start(self, **how: Any) -> Running:
        daemon = self.build(**how)
        return await self.go(daemon)

    async def go(self, daemon: Daemon) -> Running:
        running = self._begin(daemon)
        await self.is_registered(running)
        return running

    def begin(self, **how: Any) -> Running:
        """Starts a daemon without waiting for it."""
        return self._begin(self.build(**how))

    def _begin(self, daemon: Daemon) -> Running:
        running = Running(daemon, asyncio.create_task(daemon.run()))
        self.running.append(running)
        return running

    async def is_registered(self, running: Running) -> None:
        connection = await asyncpg.connect(self.database_url)

        async def known() -> bool:
            if running.task.done():
                running.task.result()
            query = "SELECT counter > 0 FROM jobservice.daemon WHERE id = $1"
            return bool(await connection.fetchval(query, running.id))

        try:
            await until(known, "the daemon is in the books")
        finally:
            await connection.close()

    async def end(self) -> None:
        for running in self.running:
            if not running.task.done():
                running.daemon.drain(at_once=True)
        for running in self.running:
            if not running.task.done():
                with suppress(TimeoutError):
                    async with asyncio.timeout(SECONDS):
                        await asyncio.wait({running.task})
                running.task.cancel()
        await asyncio.gather(*(running.task for running in self.running), return_exceptions=True)


# -------------------------------------------------------------------------------------------- daemons as processes


@dataclass
class Process:
    """A daemon in a process of its own. What it says goes to a file."""

    process: asyncio.subprocess.Process
    log: Path

    @property
    def pid(self) -> int:
        return self.process.pid

    def send(self, number: signal.Signals) -> None:
        self.process.send_signal(number)

    async def ended(self, seconds: float = SECONDS) -> int:
        async with asyncio.timeout(seconds):
            return await self.process.wait()

    def lines(self, event: str) -> list[dict[str, Any]]:
        """What it logged under this event."""
        found = [json.loads(line) for line in self.log.read_text().splitlines() if line.startswith("{")]
        return [line for line in found if line.get("event") == event]


@dataclass
class Processes:
    """Starts daemons as processes; ends them with the test."""

    database_url: str
    amqp_url: str
    prefix: str
    directory: Path
    running: list[Process] = field(default_factory=list)

    async def start(self, *arguments: str, wait: bool = True, **settings: object) -> Process:
        """`settings` by the name of their variable: `daemon__poll=0.2`."""
        given = {"daemon__heartbeat": 0.3, "daemon__lease": 20.0, "daemon__poll": 0.2, "pool__capacity": 10} | settings
        kept = {name: value for name, value in os.environ.items() if not name.startswith("JOBSERVICE_")}
        environment = kept | {
            "PYTHONPATH": str(PACKAGES),
            "JOBSERVICE_DATABASE_URL": self.database_url,
            "JOBSERVICE_AMQP_URL": self.amqp_url,
            "JOBSERVICE_BROKER__PREFIX": self.prefix,
            "JOBSERVICE_JOBS__PACKAGES": '["trial_jobs"]',
            "JOBSERVICE_WORKSPACE__DIRECTORY": str(self.directory / "workspaces"),
            "JOBSERVICE_WORKSPACE__PAUSE_PERCENT": "0",
            "JOBSERVICE_LOGS__FORMAT": "json",
            **{f"JOBSERVICE_{name.upper()}": str(value) for name, value in given.items()},
        }
        log = self.directory / f"daemon-{len(self.running)}.log"
        with log.open("wb") as output:
            process = Process(
                await asyncio.create_subprocess_exec(
                    sys.executable, "-m", "jobservice", "daemon", *arguments,
                    cwd=ROOT, env=environment, stdout=asyncio.subprocess.DEVNULL, stderr=output,
                ),
                log,
            )  # fmt: skip
        self.running.append(process)
        if wait:
            await until(lambda: self._started(process), lambda: f"daemon started; it said {log.read_text()[-2000:]}")
        return process

    async def _started(self, process: Process) -> bool:
        assert process.process.returncode is None, process.log.read_text()[-3000:]
        return bool(process.lines("daemon.start"))

    async def end(self) -> None:
        for process in self.running:
            if process.process.returncode is None:
                process.process.kill()
            await process.process.wait()
