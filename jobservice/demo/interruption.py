"""Ctrl-C, SIGTERM or a closed terminal: the first one ends what may be ended, none disturbs the cleaning up.

A signal is only taken where the demo says so, while it waits; anywhere else it is kept until the next such place. So
no server, process or directory is ever half made or half removed.
"""

import asyncio
import contextlib
import signal
from collections.abc import Callable, Coroutine, Iterator
from types import FrameType, TracebackType
from typing import Any, Self, TypeVar

T = TypeVar("T")


class Interruption:
    """`with Interruption() as interruption:` takes the signals over; `allowed` and `run` are where they take effect."""

    def __init__(self) -> None:
        self._told = False
        self._take_effect: Callable[[], None] | None = None
        self._before: dict[int, Any] = {}

    def __enter__(self) -> Self:
        """From the main thread."""
        numbers = [signal.SIGINT, signal.SIGTERM]
        if signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN:  # what nohup asks for
            numbers.append(signal.SIGHUP)
        self._before = {number: signal.signal(number, self._received) for number in numbers}
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    @contextlib.contextmanager
    def allowed(self) -> Iterator[None]:
        """A signal that comes in the block, or has come before, raises KeyboardInterrupt in it."""
        try:
            self._take_effect = _raise
            self._raise_if_told()
            yield
        finally:
            self._take_effect = None

    def run(self, main: Coroutine[Any, Any, T]) -> T:
        """`asyncio.run`; a signal cancels `main`, and raises KeyboardInterrupt once it has cleaned up."""

        async def cancelled_by_signal() -> T:
            task = asyncio.create_task(main)
            loop = asyncio.get_running_loop()
            self._take_effect = lambda: _cancel(loop, task)
            if self._told:
                task.cancel()
            try:
                return await task
            finally:
                self._take_effect = None

        try:
            return asyncio.run(cancelled_by_signal())
        except asyncio.CancelledError:
            self._raise_if_told()
            raise

    def _received(self, number: int, frame: FrameType | None) -> None:
        del number, frame
        self._told = True
        take_effect, self._take_effect = self._take_effect, None
        if take_effect is not None:
            take_effect()

    def _raise_if_told(self) -> None:
        if self._told:
            _raise()


def _raise() -> None:
    raise KeyboardInterrupt


def _cancel(loop: asyncio.AbstractEventLoop, task: asyncio.Task[Any]) -> None:
    # Not an exception out of the handler: that would tear the loop apart wherever it is.
    loop.call_soon_threadsafe(task.cancel)
