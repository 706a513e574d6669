"""One worker process as its supervisor sees it: started with its settings, asked, given orders, and its end.

Orders go over a socket pair and not by signals: a service manager may have signalled the worker already, and a second
signal means something else than the first.
"""

import asyncio
import contextlib
import itertools
import os
import socket
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Self

from jobservice.pool.channel import Channel, ChannelClosed
from jobservice.supervision.children import Child, Children

LAST_WORDS_SECONDS = 1.0
"""How long what a worker said last may take to come, after its end."""


class Worker:
    """A process that was started. `started` is called once its daemon works."""

    def __init__(self, child: Child, channel: Channel, life: int, *, started: Callable[[], None]) -> None:
        self.has_left = False
        """Whether it said that it leaves because it was told to."""
        self._child = child
        self._channel = channel
        self._life = life
        self._started = started
        self._started_at = time.monotonic()
        self._asked: dict[int, asyncio.Future[dict[str, Any] | None]] = {}
        self._numbers = itertools.count()
        self._reading = asyncio.create_task(self._read())

    @classmethod
    async def start(
        cls, children: Children, command: Sequence[str], hello: Mapping[str, Any], *, started: Callable[[], None]
    ) -> Self:
        """Runs `command` with two descriptors more: a pipe that closes with this process, and the socket.

        Raises OSError where no process can be had.
        """
        ours, theirs = socket.socketpair()
        life_there, life = os.pipe()
        try:
            passed = [life_there, theirs.fileno()]
            child = children.start([*command, *map(str, passed)], pass_fds=passed)
        except BaseException:
            ours.close()
            os.close(life)
            raise
        finally:
            theirs.close()
            os.close(life_there)
        channel = await Channel.over(ours)
        channel.send({"hello": hello})
        return cls(child, channel, life, started=started)

    @property
    def pid(self) -> int:
        """Its process's number."""
        return self._child.pid

    @property
    def lived_seconds(self) -> float:
        """Since its start."""
        return time.monotonic() - self._started_at

    def drain(self, *, at_once: bool) -> None:
        """Orders it to leave; said again it changes nothing."""
        self._channel.send({"drain": {"at_once": at_once}})

    def kill(self) -> None:
        """Ends it and its job processes at once."""
        self._child.kill()

    async def ask(self, within: float) -> dict[str, Any] | None:
        """What it says of its readiness; None when it does not answer `within` seconds, or has ended."""
        number = next(self._numbers)
        answer: asyncio.Future[dict[str, Any] | None] = asyncio.get_running_loop().create_future()
        self._asked[number] = answer
        self._channel.send({"ask": number})
        try:
            async with asyncio.timeout(0 if self._reading.done() else within):
                return await answer
        except TimeoutError:
            return None
        finally:
            self._asked.pop(number, None)

    async def ended(self) -> int:
        """Waits for its end; its exit status, or minus the signal that ended it."""
        status = await self._child.ended
        await asyncio.wait({self._reading}, timeout=LAST_WORDS_SECONDS)
        self._reading.cancel()
        self._channel.close()
        os.close(self._life)
        return status

    async def _read(self) -> None:
        with contextlib.suppress(ChannelClosed):
            while True:
                self._heard(await self._channel.receive())
        for answer in self._asked.values():
            if not answer.done():
                answer.set_result(None)

    def _heard(self, message: dict[str, Any]) -> None:
        if "started" in message:
            self._started()
        elif "left" in message:
            self.has_left = True
        elif (answer := self._asked.get(message.get("answer", -1))) is not None and not answer.done():
            answer.set_result(message)
