"""What a daemon says of itself over HTTP: whether it lives, whether it can do its work now, and the facts behind that.

It reads the daemon's parts and changes none of them.
"""

import time
from collections.abc import Callable
from typing import Any

from jobservice.daemon.parts import Parts


class Condition:
    """The condition of one daemon. Called for each look at its health, on its event loop; nothing here waits."""

    def __init__(
        self, parts: Parts, *, draining: Callable[[], bool], lost: Callable[[], bool], started_at: float
    ) -> None:
        """`started_at` is of `time.monotonic()`."""
        self._parts = parts
        self._draining = draining
        self._lost = lost
        self._started_at = started_at

    def live(self) -> dict[str, Any]:
        """Who it is, for how long, and how late its event loop is; times in seconds."""
        return {
            "daemon_id": str(self._parts.id),
            "uptime_seconds": round(time.monotonic() - self._started_at, 1),
            "loop_lag_seconds": round(self._parts.heartbeat.loop_lag_seconds, 3),
        }

    def readiness(self) -> tuple[bool, dict[str, Any]]:
        """Whether it can do its work now, and the facts that tell why: ages and lags in seconds."""
        parts, draining = self._parts, self._draining()
        trouble = parts.database_trouble
        database = parts.claim_session.connected and trouble is None
        ready = database and parts.link.connected and not draining and not self._lost()
        return ready, {
            **self.live(),
            "database": database,
            "database_error": trouble,
            "broker": parts.link.connected,
            "broker_blocked": parts.link.blocked,
            "draining": draining,
            **self._work(),
            **self._events(),
            "queued": parts.observation.waiting.queued,
            "oldest_queued_seconds": parts.observation.waiting.oldest_seconds,
            "rejected": parts.observation.rejected,
            **self._room(),
        }

    def _work(self) -> dict[str, Any]:
        parts, now = self._parts, time.monotonic()
        claimed_at = parts.scheduler.claimed_at
        return {
            "running": parts.pool.running,
            "stuck": parts.pool.stuck,
            "capacity": parts.pool.capacity,
            "uncommitted": parts.writer.waiting,
            "stale_reports": parts.in_flight.stale_reports,
            "claim_age_seconds": None if claimed_at is None else round(now - claimed_at, 3),
            "heartbeat_age_seconds": round(now - parts.heartbeat.beat_at, 3),
        }

    def _events(self) -> dict[str, Any]:
        relay = self._parts.publishing.relay
        return {"outbox_age_seconds": round(relay.lag_seconds, 3), "outbox_behind": relay.behind}

    def _room(self) -> dict[str, Any]:
        watch = self._parts.workspace_watch
        return {
            "workspace_used_percent": None if watch.room is None else round(watch.room.used_percent, 1),
            "workspace_full": watch.full,
            "workspace_tenants_over": list(watch.tenants_over),
        }
