"""What PostgreSQL says aloud: NOTIFY on channels with the schema's name. A signal may be lost; looks replace it."""

from collections.abc import Callable
from dataclasses import dataclass, fields
from typing import Any

import asyncpg

Heard = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Signals:
    """One listener per channel, called with the payload on the event loop."""

    wake: Heard
    """A queue has new jobs while a daemon was idle."""
    stop: Heard
    """A live job of this daemon (its id) has a stop mark."""
    due: Heard
    """A trigger date is near."""
    facts: Heard
    """Facts were written that no daemon holds in memory."""
    drain: Heard
    """A daemon (its id), or all (empty), is to drain."""


async def listen(connection: asyncpg.Connection, schema: str, signals: Signals) -> None:
    """Listens on one connection, for as long as it lives."""
    for field in fields(signals):
        await connection.add_listener(f"{schema}_{field.name}", _calling(getattr(signals, field.name)))


def _calling(heard: Heard) -> Callable[[Any, int, str, Any], None]:
    def callback(_connection: Any, _pid: int, _channel: str, payload: Any) -> None:
        heard(str(payload))

    return callback
