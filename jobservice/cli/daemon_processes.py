"""Daemons as child processes of a command: started, waited for until they are ready, drained, and never left behind."""

import asyncio
import contextlib
import os
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence

import aiohttp

from jobservice.client.service import JobInfoService
from jobservice.domain.errors import JobServiceError

READY_TIMEOUT = 60.0
DRAIN_TIMEOUT = 45.0
_LOOK = 0.05


class DaemonEnded(JobServiceError):
    """A daemon ended before it was asked to."""


class DaemonProcesses:
    """`count` daemons for the servers given. Their lines go to stderr: stdout belongs to the command."""

    def __init__(self, *, count: int, database_url: str, amqp_url: str, arguments: Sequence[str] = ()) -> None:
        self._count = count
        # In the environment, not in the arguments, which every user of the machine may read.
        self._environment = {
            **os.environ,
            "JOBSERVICE_DATABASE_URL": database_url,
            "JOBSERVICE_AMQP_URL": amqp_url,
        }
        self._arguments = list(arguments)
        self._processes: list[subprocess.Popen[bytes]] = []

    @contextlib.contextmanager
    def running(self) -> Iterator["DaemonProcesses"]:
        """Start them; drain them at the end, whatever ends it."""
        watcher: subprocess.Popen[bytes] | None = None
        try:
            for _ in range(self._count):
                self._processes.append(self._start())
            watcher = _watch(self.pids)
            yield self
        finally:
            self._drain()
            if watcher is not None:
                watcher.communicate(b"dismissed\n")

    @property
    def pids(self) -> list[int]:
        """Their process ids, in the order of their start."""
        return [process.pid for process in self._processes]

    def check(self) -> None:
        """Raise DaemonEnded when one has ended."""
        for process in self._processes:
            if process.poll() is not None:
                raise DaemonEnded(f"daemon {process.pid} ended with {process.returncode}; its last lines are above")

    async def until_ready(self, jobs: JobInfoService) -> list[str]:
        """Wait until each answers on `/readyz`, and give their addresses in the order of `pids`."""
        deadline = time.monotonic() + READY_TIMEOUT
        async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=5)) as session:
            while True:
                self.check()
                urls = await self._addresses(jobs)
                if len(urls) == self._count and all([await _is_ready(session, url) for url in urls]):
                    return urls
                if time.monotonic() > deadline:
                    raise DaemonEnded(f"the daemons were not ready within {READY_TIMEOUT:.0f} s; their lines are above")
                await asyncio.sleep(_LOOK)

    async def _addresses(self, jobs: JobInfoService) -> list[str]:
        known = {daemon.pid: daemon.http_url for daemon in await jobs.operations.daemons()}
        return [url for pid in self.pids if (url := known.get(pid))]

    def _start(self) -> subprocess.Popen[bytes]:
        # A session of its own: the terminal's Ctrl-C is for the parent, which then drains its daemons.
        return subprocess.Popen(
            # One process each, whatever the settings say: it is known by its id, which is that of the daemon's row.
            [sys.executable, "-m", "jobservice", "daemon", "--processes", "1", *self._arguments],
            env=self._environment,
            stdin=subprocess.DEVNULL,
            stdout=sys.stderr.fileno(),
            start_new_session=True,
        )

    def _drain(self) -> None:
        for process in self._processes:
            if process.poll() is None:
                process.terminate()
        deadline = time.monotonic() + DRAIN_TIMEOUT
        for process in self._processes:
            try:
                process.wait(max(0.0, deadline - time.monotonic()))
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def _watch(pids: Sequence[int]) -> subprocess.Popen[bytes]:
    """A shell that ends the daemons when this process is killed: the pipe closes, and nobody said that all is well."""
    script = f"read _ || kill -TERM {' '.join(map(str, pids))}"
    return subprocess.Popen(
        ["/bin/sh", "-c", script], stdin=subprocess.PIPE, stderr=subprocess.DEVNULL, start_new_session=True
    )


async def _is_ready(session: aiohttp.ClientSession, url: str) -> bool:
    try:
        async with session.get(f"{url}/readyz") as response:
            return response.status == 200
    except (aiohttp.ClientError, TimeoutError):
        return False
