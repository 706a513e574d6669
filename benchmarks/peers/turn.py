"""One peer's turn: a bulk of jobs, a worker that drains it, single jobs while it is idle. Ends what it started."""

import asyncio
import contextlib
import json
import os
import random
import shutil
import signal
import tempfile
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import asyncpg

from benchmarks.peers import meter
from benchmarks.peers.roster import Peer
from benchmarks.speed.figures import Figures

ROOT = Path(__file__).parents[2]
SECONDS = 90.0
"""For each step; a peer that takes longer has failed."""
_LOOK = 0.002


class TurnFailed(Exception):
    """Its message says what went wrong."""


@dataclass(frozen=True)
class Turn:
    """Where a peer's programs and servers are."""

    peer: Peer
    programs: Path
    database_url: str
    amqp_url: str

    async def take(self, figures: Figures, *, jobs: int, singles: int) -> None:
        """Everything once. Raises TurnFailed."""
        directory = Path(tempfile.mkdtemp(prefix="benchmark-meter-"))
        try:
            async with asyncio.timeout(4 * SECONDS), self._client(directory) as ask:
                await ask({"do": "reset"})
                bulk = await ask({"do": "bulk", "count": jobs})
                await self._vacuum()
                async with self._process(directory, *self.peer.worker):
                    await self._drain(directory, ask, figures, jobs)
                    await self._singles(directory, ask, figures, jobs, singles)
                figures.add("bulk", jobs / bulk["seconds"])
        except TimeoutError as error:
            raise TurnFailed(f"{meter.read(directory)[0]} jobs were run; {_tail(directory)}") from error
        finally:
            shutil.rmtree(directory, ignore_errors=True)

    async def _drain(self, directory: Path, ask: Any, figures: Figures, jobs: int) -> None:
        """From the first job's beginning until its store has all as ended; a broker's peer: until the last began."""
        first, last = await self._ran(directory, jobs)
        if self.peer.store == "database":
            while (await ask({"do": "left"}))["value"]:
                await asyncio.sleep(_LOOK)
            last = time.time()
        figures.add("drain", jobs / (last - first))
        if self.peer.adapter == "jobservice":
            while (await ask({"do": "unconfirmed"}))["value"]:
                await asyncio.sleep(_LOOK)
            figures.add("confirmed", jobs / (time.time() - first))

    async def _singles(self, directory: Path, ask: Any, figures: Figures, jobs: int, singles: int) -> None:
        """From the call of the client to the beginning of the job, with pauses in which the worker becomes idle."""
        await asyncio.sleep(0.5)
        waits = []
        for number in range(1, singles + 1):
            await asyncio.sleep(random.uniform(0.1, 0.2))  # idle by then, and not in step with its polling
            asked = await ask({"do": "single"})
            _, last = await self._ran(directory, jobs + number)
            waits.append((last - asked["began"]) * 1000)
        figures.add("start", *waits[1:])  # the first one opens connections

    async def _ran(self, directory: Path, jobs: int) -> tuple[float, float]:
        async with asyncio.timeout(SECONDS):
            while True:
                count, first, last = meter.read(directory)
                if count >= jobs:
                    return first, last
                await asyncio.sleep(_LOOK)

    async def _vacuum(self) -> None:
        """So that nobody drains with statistics of an empty table."""
        connection = await asyncpg.connect(self.database_url)
        try:
            await connection.execute("VACUUM ANALYZE")
        finally:
            await connection.close()

    @contextlib.asynccontextmanager
    async def _client(self, directory: Path) -> AsyncIterator[Any]:
        """The peer's client as a function: a question, its answer."""
        name = self.peer.adapter or self.peer.name
        async with self._process(directory, "python", "-m", "benchmarks.peers.client", name) as process:

            async def ask(question: dict[str, object]) -> dict[str, Any]:
                process.stdin.write(json.dumps(question).encode() + b"\n")
                line = await asyncio.wait_for(process.stdout.readline(), SECONDS)
                if not line:
                    raise TurnFailed(f"{question['do']}: the client ended; {_tail(directory)}")
                return dict(json.loads(line))

            yield ask

    @contextlib.asynccontextmanager
    async def _process(
        self, directory: Path, program: str, *arguments: str
    ) -> AsyncIterator[asyncio.subprocess.Process]:
        """A process of the peer's environment with its children, in a group of its own; gone at the end."""
        log = (directory / "log").open("ab")
        process = await asyncio.create_subprocess_exec(
            self.programs / program,
            *arguments,
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE if "benchmarks.peers.client" in arguments else log,
            stderr=log,
            cwd=directory,
            env=self._environment(directory),
            start_new_session=True,
        )
        log.close()
        try:
            yield process
        finally:
            await _end(process)

    def _environment(self, directory: Path) -> dict[str, str]:
        return {
            **os.environ,
            **self.peer.environment,
            "PATH": f"{self.programs}:{os.environ.get('PATH', '')}",
            "PYTHONPATH": str(ROOT),
            "BENCHMARK_DATABASE": self.database_url,
            "BENCHMARK_BROKER": self.amqp_url,
            "JOBSERVICE_DATABASE_URL": self.database_url,
            "JOBSERVICE_AMQP_URL": self.amqp_url,
            meter.DIRECTORY: str(directory),
        }


async def _end(process: asyncio.subprocess.Process) -> None:
    if process.returncode is not None:
        return
    process.terminate()
    with contextlib.suppress(TimeoutError):
        await asyncio.wait_for(process.wait(), 15)
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)  # children that a worker has left, too
    await process.wait()


def _tail(directory: Path) -> str:
    lines = (directory / "log").read_text(errors="replace").strip().splitlines()
    return lines[-1][:200] if lines else "it said nothing"
