"""The demo's one daemon as a child process: begun early, set going when the servers are there, drained, never left.

Its lines go to a file in the demo's directory; the last of them are shown when something fails.
"""

import asyncio
import errno
import http.client
import json
import os
import signal
import sys
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from types import TracebackType
from typing import Self
from urllib.parse import urlsplit

from jobservice.client.service import JobInfoService
from jobservice.demo.failed import DemoFailed
from jobservice.servers.account import Account
from jobservice.servers.child import Child

READY_SECONDS = 120.0
DRAIN_SECONDS = 120.0
_LOOK = 0.01


class DaemonProcess:
    """`with DaemonProcess(directory) as daemon:` begins it; then `going`, `until_ready`, `drain`."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._pipe = directory / "environment"
        self._child = Child(log=directory / "daemon.log", stop_signal=signal.SIGTERM)

    def __enter__(self) -> Self:
        """Start the process, from the main thread; it imports its parts and waits."""
        os.mkfifo(self._pipe, 0o600)
        # Nothing of the user's own installation: neither its settings nor its configuration file.
        environment = {name: value for name, value in os.environ.items() if not name.startswith("JOBSERVICE_")}
        self._child.start(
            [sys.executable, "-m", "jobservice.demo.daemon_program", str(self._pipe)],
            env=environment,
            directory=Path.cwd(),
            account=Account(None, None),
        )
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._child.kill()

    @asynccontextmanager
    async def going(self, environment: Mapping[str, str]) -> AsyncIterator[None]:
        """Give it its settings; after the block it is there no more. Raises DemoFailed.

        Passwords go through the pipe: neither arguments nor a file of ours ever hold them.
        """
        try:
            pipe = await self._opened_pipe()
            with os.fdopen(pipe, "wb") as stream:
                stream.write(json.dumps(dict(environment)).encode())
            yield
        finally:
            self._child.kill()

    async def until_ready(self, jobs: JobInfoService) -> None:
        """Return once it answers that it is ready. Raises DemoFailed."""
        deadline = time.monotonic() + READY_SECONDS
        while not await self._is_ready(jobs):
            self._check(deadline)
            await asyncio.sleep(_LOOK)

    def drain(self) -> int | None:
        """Ask it to leave and wait until it has; its exit status, 0 after a clean drain."""
        self._child.ask_to_stop()
        return self._child.wait(DRAIN_SECONDS)

    def last_lines(self) -> str:
        """The end of its log."""
        return self._child.log_tail()

    async def _opened_pipe(self) -> int:
        deadline = time.monotonic() + READY_SECONDS
        while True:
            try:
                return os.open(self._pipe, os.O_WRONLY | os.O_NONBLOCK)
            except OSError as error:
                if error.errno != errno.ENXIO:  # nobody reads yet
                    raise
            self._check(deadline)
            await asyncio.sleep(_LOOK)

    async def _is_ready(self, jobs: JobInfoService) -> bool:
        urls = [daemon.http_url for daemon in await jobs.operations.daemons() if daemon.pid == self._child.pid]
        if not urls or urls[0] is None:
            return False
        return await asyncio.to_thread(_answers, f"{urls[0]}/readyz")

    def _check(self, deadline: float) -> None:
        if not self._child.running:
            raise DemoFailed(f"the daemon ended before it was ready; it said:\n{self.last_lines()}")
        if time.monotonic() > deadline:
            raise DemoFailed(f"the daemon was not ready within {READY_SECONDS:.0f} s; it said:\n{self.last_lines()}")


def _answers(url: str) -> bool:
    place = urlsplit(url)
    connection = http.client.HTTPConnection(place.netloc, timeout=5)
    try:
        connection.request("GET", place.path)
        return connection.getresponse().status == 200
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()
