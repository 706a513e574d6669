"""Threads for jobs: as many as asked for, and none that keeps the process alive."""

import asyncio
import subprocess
import sys
import threading
from typing import Any

import pytest

from jobservice import AbstractJob
from jobservice.pool.executors import ThreadExecutor

SECONDS = 20


class Body(AbstractJob):
    """Does what the test hands it; it is never stopped."""

    def run(self, body: Any) -> object:
        return body()

    def raise_if_stopped(self) -> None:
        return None


async def test_a_free_thread_is_used_again() -> None:
    executor = ThreadExecutor(5)

    names = {await executor.execute(Body(), {"body": lambda: threading.current_thread().name}) for _ in range(20)}

    assert len(names) == 1
    executor.close()


async def test_no_more_than_size_jobs_run_at_once_and_all_run() -> None:
    executor = ThreadExecutor(3)
    together = threading.Barrier(3)

    def meet() -> str:
        together.wait(SECONDS)
        return threading.current_thread().name

    # Six jobs that end only in threes: with two threads they would wait for ever.
    names = await asyncio.wait_for(
        asyncio.gather(*(executor.execute(Body(), {"body": meet}) for _ in range(6))), SECONDS
    )

    assert len(names) == 6
    assert len(set(names)) == 3
    executor.close()


async def test_a_job_that_was_given_up_before_a_thread_took_it_is_not_run() -> None:
    executor, free, ran = ThreadExecutor(1), threading.Event(), []
    first = asyncio.create_task(executor.execute(Body(), {"body": lambda: free.wait(SECONDS)}))
    second = asyncio.create_task(executor.execute(Body(), {"body": lambda: ran.append(2)}))
    await asyncio.sleep(0)

    second.cancel()
    await asyncio.wait({second})
    free.set()
    await first
    await executor.execute(Body(), {"body": lambda: ran.append(3)})

    assert ran == [3]
    executor.close()


async def test_a_closed_executor_takes_nothing() -> None:
    executor = ThreadExecutor(1)
    executor.close()

    with pytest.raises(RuntimeError, match="closed"):
        await executor.execute(Body(), {"body": lambda: None})


def test_a_stuck_thread_does_not_keep_the_process_alive() -> None:
    program = """
import asyncio, threading
from jobservice import AbstractJob
from jobservice.pool.executors import ThreadExecutor

class Stuck(AbstractJob):
    def run(self):
        inside.set()
        threading.Event().wait()
    def raise_if_stopped(self): ...

async def main():
    task = asyncio.create_task(ThreadExecutor(1).execute(Stuck(), {}))
    await asyncio.to_thread(inside.wait)
    task.cancel()

inside = threading.Event()
asyncio.run(main())
print("left")
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=False)

    assert (done.stdout, done.returncode) == ("left\n", 0), done.stderr
