"""Jobs with tasks that last until a file is there, on a thread or on the loop; each says that it is at work."""

import asyncio
import os
import threading
import time
from pathlib import Path
from typing import Any

from jobservice import AbstractJob
from jobservice.sdk.steps import Task


def at_work(job: Any) -> None:
    """A file of its own beside the one that it waits for."""
    job.file.with_name(f"at-work-{job.number}").touch()


def on_a_thread(context: Any) -> None:
    at_work(context.job)
    while not context.job.file.exists():
        time.sleep(0.01)


async def on_the_loop(context: Any) -> None:
    await context.connection.execute("SELECT 1")
    at_work(context.job)
    while not context.job.file.exists():
        await asyncio.sleep(0.01)


class Alone:
    """A function that takes nothing: all that it needs stands in the directory of LASTS_IN."""

    def __call__(self) -> None:
        directory = Path(os.environ["LASTS_IN"])
        (directory / f"at-work-{threading.get_ident()}").touch()
        while not (directory / "end").exists():
            time.sleep(0.01)


class LastsOnThread(AbstractJob):
    number: int
    file: Path
    steps = (Task("last", on_a_thread),)


class LastsOnLoop(AbstractJob):
    number: int
    file: Path
    steps = (Task("last", on_the_loop),)


class LastsWithoutContext(AbstractJob):
    number: int
    file: Path
    steps = (Task("last", Alone()),)
