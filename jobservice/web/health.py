"""`/livez` and `/readyz`: whether a daemon runs, and whether it can do its work, as JSON.

Built by `service.py`, which passes the two answers as functions. This file decides nothing about health and never
asks a server itself: a probe must answer at once, also while the database is away.
"""

import asyncio
import inspect
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

import orjson
from aiohttp import web

from jobservice.domain.errors import ConfigurationError

Facts = Mapping[str, Any]
Verdict = tuple[bool, Facts]


class HealthServer:
    """A small HTTP server in the daemon's own event loop: an answer that does not come tells of a blocked loop."""

    def __init__(
        self,
        host: str,
        port: int,
        live: Callable[[], Facts],
        ready: Callable[[], Verdict] | Callable[[], Awaitable[Verdict]],
    ) -> None:
        """`port` 0 takes any free one; `ready` gives the verdict (200 or 503) and the facts that explain it.

        One that must ask others for them is a coroutine function.
        """
        self._host = host
        self._port = port
        self._live = live
        self._ready = ready
        self._runner: web.AppRunner | None = None

    async def start(self) -> int:
        """Listen and return the port. Raises ConfigurationError where the address cannot be taken."""
        application = web.Application()
        application.add_routes([web.get("/livez", self._livez), web.get("/readyz", self._readyz)])
        # Signals belong to the daemon; each probe of an orchestrator is no line worth logging.
        runner = web.AppRunner(application, handle_signals=False, access_log=None)
        await runner.setup()
        try:
            await web.TCPSite(runner, self._host, self._port).start()
        except OSError as error:
            await runner.cleanup()
            raise ConfigurationError(
                f"cannot listen on daemon.http_host {self._host}, daemon.http_port {self._port}: {error.strerror}"
            ) from error
        self._runner = runner
        port: int = runner.addresses[0][1]
        return port

    async def stop(self) -> None:
        """Close the port and what is open; stopping twice, or before the start, is fine."""
        runner, self._runner = self._runner, None
        if runner is not None:
            await asyncio.shield(runner.cleanup())

    async def _livez(self, request: web.Request) -> web.Response:
        del request
        return _answer(True, self._live())

    async def _readyz(self, request: web.Request) -> web.Response:
        del request
        verdict = self._ready()
        return _answer(*(await verdict if inspect.isawaitable(verdict) else verdict))


def _answer(well: bool, facts: Facts) -> web.Response:
    body = orjson.dumps({"ok": well, **facts}, default=str)
    headers = {"Cache-Control": "no-store"}
    return web.Response(body=body, status=200 if well else 503, content_type="application/json", headers=headers)
