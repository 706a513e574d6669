"""The composition root: builds every part of a daemon by keyword, starts bottom-up, stops top-down.

The only file that knows all parts. `run_daemon` is the life of the process; a daemon that has lost its lease ends its
runs and is built anew, under a new identity.
"""

import asyncio
import contextlib
import gc
import signal
from collections.abc import Iterator
from typing import Any

import structlog

from jobservice.config import Settings
from jobservice.daemon.daemon import Daemon, Ending
from jobservice.domain.errors import ConfigurationError
from jobservice.sdk.registry import Registry
from jobservice.supervision.superior import Superior

log = structlog.get_logger(__name__)


async def run_daemon(
    settings: Settings, *, run: bool = True, maintenance: bool = True, superior: Superior | None = None
) -> None:
    """Runs until SIGTERM or SIGINT, then drains; a second signal hands the jobs back at once.

    A `superior` gives such orders, too, and answers health probes in its place. Raises ConfigurationError,
    DefinitionError, SchemaError at the start; servers that are away are waited for.
    """
    if settings.database_url is None:
        raise ConfigurationError("database_url is not set (flag --database-url, variable JOBSERVICE_DATABASE_URL)")
    if settings.amqp_url is None:
        raise ConfigurationError("amqp_url is not set (flag --amqp-url, variable JOBSERVICE_AMQP_URL)")
    registry = Registry.load(settings.jobs.packages if run else ())
    _collect_seldom()

    def build() -> Daemon:
        return Daemon(settings=settings, registry=registry, run=run, maintenance=maintenance, superior=superior)

    served = _Served(build())
    with served.from_signals():
        if superior is not None:
            superior.attend(served)
        while await served.daemon.run() is Ending.LOST and not served.draining:
            log.warning("daemon.restart", lost_daemon_id=str(served.daemon.id))
            served.daemon = build()


def _collect_seldom() -> None:
    """What is loaded by now stays and is not looked through again; then after 100,000 new objects instead of 700.

    Thousands of jobs are in memory at once and none of them in a cycle: a quarter of a daemon's time went into looking.
    """
    gc.freeze()
    gc.set_threshold(100_000, 20, 50)


class _Served:
    """The daemon of this process under its identity of the moment, and what it was told.

    The first SIGTERM or SIGINT drains, the next ends the drain.
    """

    def __init__(self, daemon: Daemon) -> None:
        self.daemon = daemon
        self.draining = False
        """Also while a lost identity is given up: then no new one is taken."""
        self._count = 0

    def drain(self, *, at_once: bool = False) -> None:
        """Leave; `at_once` hands back what runs."""
        self.draining = True
        self.daemon.drain(at_once=at_once)

    def readiness(self) -> tuple[bool, dict[str, Any]]:
        """What `/readyz` tells."""
        return self.daemon.readiness()

    @contextlib.contextmanager
    def from_signals(self) -> Iterator[None]:
        """While the daemon lives."""
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._received, number)
        try:
            yield
        finally:
            for number in (signal.SIGTERM, signal.SIGINT):
                loop.remove_signal_handler(number)

    def _received(self, number: int) -> None:
        self._count += 1
        log.info("daemon.signal", signal=signal.Signals(number).name, count=self._count)
        self.drain(at_once=self._count > 1)
