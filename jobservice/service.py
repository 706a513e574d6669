"""The composition root: builds every part of a daemon by keyword, starts bottom-up, stops top-down.

The only file that knows all parts. `run_daemon` is the life of the process; a daemon that has lost its lease ends its
runs and is built anew, under a new identity.
"""

import asyncio
import contextlib
import signal
from collections.abc import Iterator

import structlog

from jobservice.config import Settings
from jobservice.daemon import Daemon, Ending
from jobservice.domain.errors import ConfigurationError
from jobservice.sdk.registry import Registry

log = structlog.get_logger(__name__)


async def run_daemon(settings: Settings, *, run: bool = True, maintenance: bool = True) -> None:
    """Runs until SIGTERM or SIGINT, then drains; a second signal hands the jobs back at once.

    Raises ConfigurationError, DefinitionError, SchemaError at the start; servers that are away are waited for.
    """
    if settings.database_url is None:
        raise ConfigurationError("database_url is not set (flag --database-url, variable JOBSERVICE_DATABASE_URL)")
    if settings.amqp_url is None:
        raise ConfigurationError("amqp_url is not set (flag --amqp-url, variable JOBSERVICE_AMQP_URL)")
    registry = Registry.load(settings.jobs.packages if run else ())
    signals = _Signals()
    with signals.installed():
        while True:
            daemon = Daemon(settings=settings, registry=registry, run=run, maintenance=maintenance)
            signals.target = daemon
            if await daemon.run() is Ending.DRAINED:
                return
            log.warning("daemon.restart", lost_daemon_id=str(daemon.id))


class _Signals:
    """The first SIGTERM or SIGINT drains, the next ends the drain."""

    def __init__(self) -> None:
        self.target: Daemon | None = None
        self._count = 0

    @contextlib.contextmanager
    def installed(self) -> Iterator[None]:
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
        if self.target is not None:
            self.target.drain(at_once=self._count > 1)
