"""Looks for what daemons may have left, while they idle and after they have ended. Ends nothing."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import aiohttp
import asyncpg

from chaos.fleet import Fleet

SESSIONS = 4
"""Database sessions that a daemon may have."""
BROKER_CONNECTIONS = 2
IDLE_WITHIN = 30.0
THREADS = 80
"""The daemon's own few and those that the executors keep for the next job."""
_LOOK = 0.1
_SESSIONS = """
SELECT application_name, state, query FROM pg_stat_activity
WHERE backend_type = 'client backend' AND pid <> pg_backend_pid() AND application_name <> 'chaos client'
"""


async def until(claim: Callable[[], Awaitable[object]], seconds: float) -> bool:
    """Whether the claim came to hold in time."""
    deadline = time.monotonic() + seconds
    while not await claim():
        if time.monotonic() > deadline:
            return False
        await asyncio.sleep(_LOOK)
    return True


async def of_idle_daemons(connection: asyncpg.Connection, fleet: Fleet) -> list[str]:
    """What living daemons still hold a while after there was nothing to do."""
    wrong: list[str] = []

    async def nothing() -> bool:
        wrong[:] = await _held(connection, fleet)
        return not wrong

    await until(nothing, IDLE_WITHIN)
    return wrong


async def _held(connection: asyncpg.Connection, fleet: Fleet) -> list[str]:
    import psutil  # a tool of development: not needed by the service

    wrong: list[str] = []
    for place in fleet.places:
        pid = place.daemon.pid if place.daemon is not None else None
        if pid is None:
            wrong.append(f"daemon {place.number} is not there at the end")
            continue
        for line, most in ((place.database, SESSIONS), (place.broker, BROKER_CONNECTIONS)):
            if line.connections > most:
                wrong.append(f"daemon {place.number} has {line.connections} connections by {line.url}, not {most}")
        threads = psutil.Process(pid).num_threads()
        if threads > THREADS:
            wrong.append(f"daemon {place.number} has {threads} threads")
        ready = await _readyz(connection, pid)
        if ready.get("running") or ready.get("stuck") or ready.get("uncommitted") or not ready.get("database"):
            wrong.append(f"daemon {place.number} says of itself: {ready}")
    return wrong


async def of_ended_daemons(connection: asyncpg.Connection, fleet: Fleet, workspaces: Path) -> list[str]:
    """What is there though no daemon is."""
    wrong: list[str] = []

    async def no_session() -> bool:
        return not await connection.fetch(_SESSIONS)

    async def no_process() -> bool:
        return not fleet.left_processes()

    if not await until(no_session, 10):
        wrong += [f"a session is left: {dict(row)}" for row in await connection.fetch(_SESSIONS)]
    if not await until(no_process, 10):
        wrong += [f"process {pid} is left" for pid in fleet.left_processes()]
    for place in fleet.places:
        for line in place.lines:
            if line.connections:
                wrong.append(f"{line.connections} connections of daemon {place.number} are left")
    wrong += [f"{path} is left" for path in sorted(workspaces.glob("*"))] if workspaces.exists() else []
    return wrong


async def _readyz(connection: asyncpg.Connection, pid: int) -> dict[str, Any]:
    url = await connection.fetchval(
        "SELECT http_url FROM jobservice.daemon WHERE pid = $1 AND lost_at IS NULL AND stopped_at IS NULL", pid
    )
    if url is None:
        return {"pid": pid, "registered": False}
    async with aiohttp.ClientSession() as session, session.get(f"{url}/readyz") as answer:
        told: dict[str, Any] = await answer.json()
        return told
