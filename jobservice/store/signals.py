"""What PostgreSQL says aloud: NOTIFY on channels with the schema's name. A signal may be lost; looks replace it."""

from collections.abc import Callable, Mapping
from enum import StrEnum
from typing import Any

import asyncpg

Heard = Callable[[str], None]


class Signal(StrEnum):
    """The channels, behind the schema's name, and what their payloads say."""

    WAKE = "wake"
    """A queue (its name) has new jobs while a daemon was idle."""
    STOP = "stop"
    """A live job of this daemon (its id) has a stop mark."""
    DUE = "due"
    """A trigger date is near."""
    FACTS = "facts"
    """Facts were written that no daemon holds in memory."""
    DRAIN = "drain"
    """A daemon (its id), or all (empty), is to drain."""


async def listen(connection: asyncpg.Connection, schema: str, signals: Mapping[Signal, Heard]) -> None:
    """Listens on one connection, for as long as it lives. Each is called with the payload, on the event loop."""
    for signal, heard in signals.items():
        await connection.add_listener(f"{schema}_{signal}", _calling(heard))


def _calling(heard: Heard) -> Callable[[Any, int, str, Any], None]:
    def callback(_connection: Any, _pid: int, _channel: str, payload: Any) -> None:
        heard(str(payload))

    return callback
