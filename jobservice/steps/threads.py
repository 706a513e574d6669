"""The threads on which plain functions of steps run: as many as there are calls at a time, and none that is shared.

Those of the event loop are few, and what ends a run needs them, too. Daemon threads, since a function that does not
end would keep the process alive.
"""

import asyncio
import contextvars
import threading
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from queue import SimpleQueue
from typing import Any

from jobservice.thread_answers import Ended, awaited, ended, tell

IDLE_MAX = 8
"""Threads that wait for another call; the others end."""


class StepThreads:
    """Each run makes one call at a time: the slots of the pool bound them, and `stuck` ones come besides."""

    def __init__(self) -> None:
        self._calls: SimpleQueue[_Call | None] = SimpleQueue()
        self._lock = threading.Lock()
        self._idle = 0
        self._closed = False
        self.stuck = 0
        """Functions that nobody waits for any more and that go on."""

    async def call(self, function: Callable[..., Any], *arguments: Any) -> Any:
        """Its value, or what it raises; sees what is bound to the context. Who is cancelled leaves it to itself."""
        loop = asyncio.get_running_loop()
        call = _Call(contextvars.copy_context(), function, arguments, loop, loop.create_future())
        self._put(call)
        return await awaited(call.answer, lambda: self._leave(call))

    def close(self) -> None:
        """Lets idle threads end; one at work ends after it, or with the process."""
        with self._lock:
            idle, self._idle, self._closed = self._idle, 0, True
        for _ in range(idle):
            self._calls.put(None)

    def _put(self, call: "_Call") -> None:
        with self._lock:
            grow = self._idle == 0
            self._idle -= not grow
        self._calls.put(call)
        if grow:
            threading.Thread(target=self._work, name="step", daemon=True).start()

    def _leave(self, call: "_Call") -> None:
        with self._lock:
            if not call.ended:
                call.left = True
                self.stuck += 1

    def _work(self) -> None:
        while (call := self._calls.get()) is not None:
            how = call.context.run(ended, partial(call.function, *call.arguments), call.answer)
            with self._lock:
                call.ended = True
                self.stuck -= call.left
                stays = not self._closed and self._idle < IDLE_MAX
                self._idle += stays
            tell(call.loop, call.answer, how)
            if not stays:
                return


@dataclass(slots=True)
class _Call:
    """One call on its way through a thread. The flags are guarded by the lock."""

    context: contextvars.Context
    function: Callable[..., Any]
    arguments: tuple[Any, ...]
    loop: asyncio.AbstractEventLoop
    answer: asyncio.Future[Ended]
    ended: bool = False
    left: bool = False
