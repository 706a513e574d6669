"""The threads on which plain functions of steps run: as many as there are calls at a time, and none that is shared.

Those of the event loop are few, and what ends a run needs them, too. Daemon threads, since a function that does not
end would keep the process alive.
"""

import asyncio
import contextvars
import threading
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from queue import SimpleQueue
from typing import Any

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
        try:
            value, error = await call.answer
        except asyncio.CancelledError:
            self._leave(call)
            raise
        if error is not None:
            try:
                raise error
            finally:
                error = None  # or the traceback would hold this frame, and this frame the traceback
        return value

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
            ended = call.context.run(_ended, call)
            with self._lock:
                call.ended = True
                self.stuck -= call.left
                stays = not self._closed and self._idle < IDLE_MAX
                self._idle += stays
            with suppress(RuntimeError):  # the loop is closed: nobody waits any more
                call.loop.call_soon_threadsafe(_tell, call.answer, ended)
            if not stays:
                return


@dataclass(slots=True)
class _Call:
    """One call on its way through a thread. The flags are guarded by the lock."""

    context: contextvars.Context
    function: Callable[..., Any]
    arguments: tuple[Any, ...]
    loop: asyncio.AbstractEventLoop
    answer: asyncio.Future[tuple[Any, BaseException | None]]
    ended: bool = False
    left: bool = False


def _ended(call: _Call) -> tuple[Any, BaseException | None]:
    """How it ended, as a value: a future refuses StopIteration, and a thread may end in anything."""
    if call.answer.cancelled():
        return None, None
    try:
        return call.function(*call.arguments), None
    except BaseException as error:  # noqa: BLE001 - given to the run, which records it
        return None, error


def _tell(answer: asyncio.Future[Any], ended: tuple[Any, BaseException | None]) -> None:
    if not answer.done():
        answer.set_result(ended)
