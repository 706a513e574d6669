"""Owns what a subscriber saw: an AMQP client of its own that knows nothing of this package, with a durable queue.

It acknowledges what it has kept, and comes back after each loss of its connection.
"""

import asyncio
import json
import math
import time
from collections import Counter
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import aiormq
from aiormq.abc import DeliveredMessage

from chaos.patience import AWAY, patiently

PREFETCH = 500
ARGUMENTS: dict[str, Any] = {"x-queue-type": "quorum", "x-single-active-consumer": True}
"""Without the second a broker that was killed hands out newer messages before what the consumer of before held."""
_AGAIN = 0.2
_CONNECTED_WITHIN = 10.0


@dataclass(frozen=True, slots=True)
class Seen:
    """One event, as far as it is checked."""

    sequence: int
    status: str
    previous: str | None
    run: int
    attempt: int
    time: datetime
    daemon_id: str | None
    will_retry: bool
    error_type: str | None
    final: bool


class Recorder:
    """`run` as a task, until it is cancelled. `lives` has each job's events in the order of their first arrival."""

    def __init__(self, *, url: str, prefix: str) -> None:
        self.lives: dict[str, list[Seen]] = {}
        self.duplicates = 0
        self.overtaken: list[str] = []
        """Events that were not seen before, and came after one with a higher sequence of the same job."""
        self.by_status: Counter[str] = Counter()
        self.ended_at = time.monotonic()
        """When the last new end came."""
        self.longest_gap = (0.0, 0.0)
        """Seconds between two ends, and when the second came."""
        self._url = url
        self._prefix = prefix
        self._known: set[tuple[str, int]] = set()
        self._ready = asyncio.Event()

    @property
    def events(self) -> int:
        """How many different ones came."""
        return len(self._known)

    async def ready(self) -> None:
        """Returns when the queue is bound."""
        await self._ready.wait()

    async def run(self) -> None:
        """Consume for ever."""
        while True:
            try:
                await patiently(self._consume(), math.inf)
            except AWAY:
                await asyncio.sleep(_AGAIN)

    async def _consume(self) -> None:
        connection = await patiently(aiormq.connect(self._url), _CONNECTED_WITHIN)
        try:
            channel = await connection.channel()
            await channel.basic_qos(prefetch_count=PREFETCH)
            queue = f"{self._prefix}.recorder"
            await channel.exchange_declare(f"{self._prefix}.events", exchange_type="topic", durable=True)
            await channel.queue_declare(queue, durable=True, arguments=ARGUMENTS)
            await channel.queue_bind(queue, f"{self._prefix}.events", "#")
            await channel.basic_consume(queue, self._take)
            self._ready.set()
            await connection.closing
        finally:
            await connection.close()

    async def _take(self, message: DeliveredMessage) -> None:
        event = json.loads(message.body)
        again = bool(getattr(message.delivery, "redelivered", False))
        self.keep(event["data"], datetime.fromisoformat(event["time"]), delivered_again=again)
        assert message.delivery_tag is not None
        await message.channel.basic_ack(message.delivery_tag, wait=False)

    def keep(self, data: dict[str, Any], time_told: datetime, *, delivered_again: bool = False) -> None:
        """One arrival."""
        job_id, sequence = data["job_id"], data["sequence"]
        if (job_id, sequence) in self._known:
            self.duplicates += 1
            return
        self._known.add((job_id, sequence))
        life = self.lives.setdefault(job_id, [])
        if life and sequence < life[-1].sequence:
            again = ", delivered again," if delivered_again else ""
            late = f"{sequence} {data['status']} by {data['daemon_id']}{again} came after {life[-1].sequence}"
            self.overtaken.append(f"{job_id}: {late}, {datetime.now(UTC):%H:%M:%S.%f}")
        error = data["error"] or {}
        life.append(
            Seen(
                sequence=sequence,
                status=data["status"],
                previous=data["previous_status"],
                run=data["run"],
                attempt=data["attempt"],
                time=time_told,
                daemon_id=data["daemon_id"],
                will_retry=data["will_retry"],
                error_type=error.get("type"),
                final=data["final"],
            )
        )
        self.by_status[data["status"]] += 1
        if data["final"]:
            now = time.monotonic()
            self.longest_gap = max(self.longest_gap, (now - self.ended_at, now))
            self.ended_at = now
