"""The main thread at the service of a course that runs on an event loop in another one.

Child processes end with the thread that started them, and waiting for a server blocks: the main thread does both,
while the lines that the daemons talk through stay awake.
"""

import asyncio
import queue
import threading
from collections.abc import Callable, Coroutine
from concurrent.futures import Future
from typing import Any, TypeVar

import uvloop

T = TypeVar("T")


class MainThread:
    """`serve` from the main thread; `call` from the course."""

    def __init__(self) -> None:
        self._calls: queue.SimpleQueue[Callable[[], None] | None] = queue.SimpleQueue()

    async def call(self, work: Callable[[], T]) -> T:
        """What `work` returns, done on the main thread, one call after the other."""
        done: Future[T] = Future()

        def do() -> None:
            if not done.set_running_or_notify_cancel():
                return
            try:
                done.set_result(work())
            except BaseException as error:  # noqa: BLE001 - it belongs to who called
                done.set_exception(error)

        self._calls.put(do)
        return await asyncio.wrap_future(done)

    def serve(self, course: Callable[[], Coroutine[Any, Any, T]]) -> T:
        """Run the course to its end, doing what it calls for. An interrupt cancels it, and is raised afterwards."""
        ended: Future[T] = Future()
        cancel: list[Callable[[], object]] = []

        async def run() -> T:
            task, loop = asyncio.current_task(), asyncio.get_running_loop()
            assert task is not None
            cancel.append(lambda: loop.call_soon_threadsafe(task.cancel))
            return await course()

        def work() -> None:
            try:
                with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
                    ended.set_result(runner.run(run()))
            except BaseException as error:  # noqa: BLE001 - raised below, on the main thread
                ended.set_exception(error)
            self._calls.put(None)

        thread = threading.Thread(target=work, name="course")
        thread.start()
        interrupt = self._answer(cancel)
        thread.join()
        if interrupt is not None:
            raise interrupt
        return ended.result()

    def _answer(self, cancel: list[Callable[[], object]]) -> KeyboardInterrupt | None:
        interrupt: KeyboardInterrupt | None = None
        while True:
            try:
                call = self._calls.get()
                if call is None:
                    return interrupt
                call()
            except KeyboardInterrupt as error:
                interrupt = error
                for each in cancel:
                    each()
