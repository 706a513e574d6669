"""A worker's line to its supervisor: its settings in, orders and questions in, answers out, and the supervisor's death.

Used by the process of a worker. The death is heard on a thread of its own: a job that blocks the event loop must not
keep an orphan for ever.
"""

import asyncio
import os
import socket
import threading
import time
from collections.abc import Mapping
from typing import Any, Protocol, Self

import structlog

from jobservice.pool.channel import Channel, ChannelClosed

log = structlog.get_logger(__name__)

EXIT_ORPHANED = 70


class Subordinate(Protocol):
    """Who is given the orders, and asked."""

    def drain(self, *, at_once: bool = False) -> None: ...
    def readiness(self) -> tuple[bool, Mapping[str, Any]]: ...


class Superior:
    """`over` the two descriptors that the supervisor left open; `attend` from then on."""

    def __init__(self, channel: Channel, life: int, hello: Mapping[str, Any]) -> None:
        self.hello = hello
        """What the supervisor wants this worker to be."""
        self._channel = channel
        self._life = life
        self._reading: asyncio.Task[None] | None = None

    @classmethod
    async def over(cls, life: int, descriptor: int) -> Self:
        """Waits for the first message. Raises ChannelClosed when the supervisor is gone already."""
        for each in (life, descriptor):
            os.set_inheritable(each, False)  # not for the programs that jobs run
        channel = await Channel.over(socket.socket(fileno=descriptor))
        return cls(channel, life, (await channel.receive())["hello"])

    @property
    def http_url(self) -> str:
        """Where the supervisor answers for this worker."""
        return str(self.hello["http_url"])

    def attend(self, subordinate: Subordinate) -> None:
        """Listens. Where the supervisor dies, the subordinate drains, and may take the time that it would be given."""
        self._reading = asyncio.create_task(self._read(subordinate))
        watch = (asyncio.get_running_loop(), subordinate, float(self.hello["leave_within"]))
        threading.Thread(target=self._outlive, args=watch, name="supervisor's life", daemon=True).start()

    def started(self) -> None:
        """The daemon works."""
        self._channel.send({"started": True})

    def left(self) -> None:
        """The daemon was told to leave, and did: nobody is to start it again."""
        self._channel.send({"left": True})

    async def _read(self, subordinate: Subordinate) -> None:
        try:
            while True:
                message = await self._channel.receive()
                if "drain" in message:
                    subordinate.drain(at_once=message["drain"]["at_once"])
                elif "ask" in message:
                    ready, facts = subordinate.readiness()
                    self._channel.send({"answer": message["ask"], "ok": ready, "facts": facts})
        except ChannelClosed:
            return  # heard by the thread as well, which decides

    def _outlive(self, loop: asyncio.AbstractEventLoop, subordinate: Subordinate, leave_within: float) -> None:
        while os.read(self._life, 1):
            pass
        log.warning("supervisor.gone", leave_within_seconds=leave_within)
        try:
            loop.call_soon_threadsafe(subordinate.drain)
        except RuntimeError:
            return  # the event loop has ended, and with it the daemon
        time.sleep(leave_within)
        log.critical("daemon.orphaned", after_seconds=leave_within)
        os._exit(EXIT_ORPHANED)
